"""Who we are to a store: found where the AWS tools look for it.

The environment, the shared files of a profile, the metadata service of a container or a machine, in the order
of botocore, which also fetches new ones when they are about to expire. The same for S3, K2V and boto3.
"""

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from aerogramme.errors import BadConfiguration, Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Credential

    from aerogramme.store.place import Place

# botocore fetches new ones ten minutes before the old expire, so what it gave is good for this long.
_GOOD_FOR = timedelta(minutes=5)
_DEFAULT_REGION = "us-east-1"


class Keys(NamedTuple):
    """What requests are signed with. `token` goes with keys that expire."""

    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return f"Keys({self.access_key!r}, …)"


class Credentials:
    """The credentials for a place. Everything here blocks, at first for a while (files, perhaps the metadata
    service): it is for threads.
    """

    def __init__(self, place: "Place") -> None:
        self._profile, self._region = place.profile, place.region
        self._lock = threading.Lock()
        self._session: Any = None
        self._found: Any = None

    def keys(self) -> Keys:
        """The keys of now. `BadConfiguration` if there are none, `Unavailable` if they cannot be had now."""
        from botocore.exceptions import BotoCoreError

        with self._lock:
            session = self._opened()
            try:
                self._found = self._found or session.get_credentials()
                if self._found is None:
                    raise BadConfiguration("There are no credentials for the store", hint=_WHERE)
                found = self._found.get_frozen_credentials()
            except BotoCoreError as error:
                raise _explained(error) from None
        return Keys(found.access_key, found.secret_key, found.token)

    def source(self) -> str:
        """Where the keys were found, in botocore's words (`env`, `shared-credentials-file`, …). Errors as
        for `keys`."""
        self.keys()
        return str(self._found.method)

    def region(self) -> str:
        """The region to sign for."""
        if self._region is not None:
            return self._region
        with self._lock:
            return self._opened().get_config_variable("region") or _DEFAULT_REGION

    def for_obstore(self) -> "S3Credential":
        """The keys, as obstore asks for them."""
        keys = self.keys()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + _GOOD_FOR,
        }

    def _opened(self) -> Any:
        """The botocore session, made when it is first asked for: that reads files."""
        if self._session is None:
            from botocore.exceptions import BotoCoreError
            from botocore.session import Session

            try:
                session = Session(profile=self._profile)
                session.full_config  # noqa: B018 - reads the files now, so that what is wrong there shows here
                session.get_scoped_config()
            except BotoCoreError as error:
                raise _explained(error) from None
            self._session = session
        return self._session


_WHERE = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or make a profile in ~/.aws/credentials"


def _explained(error: Exception) -> Exception:
    """botocore's errors in our words. Theirs name profiles and files, never a secret."""
    from botocore.exceptions import (
        ConfigNotFound,
        ConfigParseError,
        InvalidConfigError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    wrong = ConfigNotFound | ConfigParseError | InvalidConfigError | PartialCredentialsError | ProfileNotFound
    if isinstance(error, wrong):
        return BadConfiguration(f"The AWS configuration cannot be used: {error}", hint=_WHERE)
    return Unavailable(hint=f"the credentials cannot be had now: {error}")
