"""The steps of `check` for accounts in a bucket: S3, and K2V where there is Garage.

All that a check writes has names that begin with `probe/`, below the prefix that the place has.
"""

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import urlsplit

from aerogramme.errors import BadConfiguration, BadSyntax
from aerogramme.store.check_http import Answer
from aerogramme.store.check_requests import Requests, broken, read_object, server, stranger
from aerogramme.store.check_steps import CheckFailed, Found, Work, use_account
from aerogramme.store.place import Place
from aerogramme.store.retry import SKEW_SECONDS

SKEW_GOOD = 30.0  # far from harm, and far from what NTP leaves: somebody should look
LEFT_SECONDS = 86_400  # a probe so old is of a check that was killed
LISTED = {"list-type": "2", "max-keys": "1"}

SOURCES = {  # botocore's names for where it found credentials
    "env": "from the environment, AWS_ACCESS_KEY_ID",
    "shared-credentials-file": "from the shared credentials file, ~/.aws/credentials unless told otherwise",
    "config-file": "from the shared configuration file, ~/.aws/config unless told otherwise",
    "assume-role": "of a role that is assumed",
    "assume-role-with-web-identity": "of a role that is assumed with a web identity",
    "sso": "from single sign-on",
    "container-role": "of the container's role",
    "iam-role": "of the instance's role",
    "custom-process": "from a program, credential_process",
}
STALL = (
    "Over plain HTTP Garage stalls 43 ms in every read of more than 3 kB on a connection that is used again; "
    "Aerogramme therefore opens one for each request. TLS has no such stall."
)
K2V_ON = "[k2v_api] with api_bind_addr in garage.toml turns K2V on, once garage is started anew"


class BucketCheck:
    def __init__(self, place: Place, *, create: bool) -> None:
        self._place, self._create = place, create
        self._requests = Requests(place)
        self._probes = f"{place.prefix}probe/"
        self._probe = f"{self._probes}{int(time.time()):08x}-{secrets.token_hex(8)}/"
        self._object, self._rows = f"{self._probe}object", f"{self._probe}rows"
        self._body = secrets.token_bytes(10_000)
        self._token = ""  # of the row, without which it cannot be deleted
        self._skew: float | None = None
        self._wrote_objects = self._wrote_rows = False

    def steps(self) -> Sequence[tuple[str, Work]]:
        s3: list[tuple[str, Work]] = [
            ("the endpoint answers", self._answers),
            ("the clocks agree", self._clocks),
            ("there are credentials", self._credentials),
            ("the bucket is there", self._bucket),
            ("an object is written", self._write),
            ("and read back", self._read),
            ("and read in part", self._read_part),
            ("and listed", self._listed),
            ("and deleted", self._delete),
        ]
        k2v: list[tuple[str, Work]] = [
            ("K2V answers", self._k2v_answers),
            ("K2V takes the key", self._k2v_key),
            ("a row is written", self._write_row),
            ("and read back", self._read_row),
            ("and seen by a poll", self._poll_row),
            ("and deleted", self._delete_row),
        ]
        return [*s3, *(k2v if self._place.k2v else ()), ("an account, as servers use it", self._account)]

    def clean(self) -> None:
        requests = self._requests
        try:
            if self._wrote_objects:
                for name in filter(self._may_go, requests.names(self._probes)):
                    requests.s3("DELETE", name, doing="delete an object", fine=(200, 204, 404))
            if self._wrote_rows:
                # The index of partitions may lag behind what was written just now.
                partitions = {self._rows, *requests.partitions(self._probes)}
                for partition in filter(self._may_go, sorted(partitions)):
                    body = [{"partitionKey": partition}]
                    requests.k2v("POST", query={"delete": ""}, body=body, doing="delete rows")
        except CheckFailed as error:
            raise CheckFailed(
                f"something may be left behind below {self._probe}: {error}",
                hint=f"{error.hint}; a check on another day removes it",
                exit_code=error.exit_code,
            ) from error

    def _may_go(self, name: str) -> bool:
        """Whether this is of our probe, or of one that was killed long ago."""
        made = re.match(r"([0-9a-f]{8})-", name.removeprefix(self._probes))
        old = made is not None and int(made[1], 16) + LEFT_SECONDS < time.time()
        return name.startswith(self._probe) or old

    # --- the way there

    def _answers(self) -> Found:
        url = urlsplit(self._requests.s3_url())
        answer = self._requests.anonymous(LISTED)
        self._skew = _skew(answer)
        if answer.status >= 500:
            raise broken(answer, url.netloc)
        if answer.kind == "application/json" and "region" in read_object(answer):
            raise CheckFailed(
                f"{url.netloc} is K2V, not S3",
                hint="in garage.toml S3's port is that of [s3_api], K2V's that of [k2v_api]",
                exit_code=BadConfiguration.exit_code,
            )
        if not answer.kind.endswith("/xml") or not re.search(rb"<(Error|ListBucketResult)\b", answer.body):
            raise stranger(answer, url.netloc, "S3")
        signed = f", certificate from {answer.issuer}" if answer.issuer else ""
        public = "anybody may list the bucket without a key: take that right from anonymous users"
        stalls = url.scheme == "http" and self._place.kind == "garage"
        return Found(
            f"{url.netloc}{server(answer)}{signed}",
            public if answer.status == 200 else "",
            STALL if stalls else "",
        )

    def _clocks(self) -> Found:
        if self._skew is None:
            return Found("the answer bears no date", "compare the two clocks yourself")
        if abs(self._skew) < 1:  # the store tells whole seconds
            return Found("they differ by less than a second")
        text = f"the store's is {abs(self._skew):.0f} s {'ahead' if self._skew > 0 else 'behind'}"
        hint = "let both be set by NTP (chrony, systemd-timesyncd); `timedatectl` shows which is not"
        if abs(self._skew) > SKEW_SECONDS:
            raise CheckFailed(f"{text}, and {SKEW_SECONDS / 60:.0f} minutes are the most", hint=hint)
        return Found(text, hint if abs(self._skew) > SKEW_GOOD else "")

    def _credentials(self) -> Found:
        source = self._requests.credentials()
        profile = f", profile {self._place.profile}" if self._place.profile else ""
        return Found(f"{SOURCES.get(source, source)}{profile}")

    def _bucket(self) -> Found:
        requests, made = self._requests, ""
        listed = partial(requests.s3, "GET", query={**LISTED, "prefix": self._place.prefix})
        if self._create and listed().status == 404:
            requests.create_bucket()
            made = ", made just now"
            if self._place.kind == "garage":
                made += "; other keys do not know it by this name: `garage bucket alias` changes that"
        listed(doing="list the bucket")
        return Found(f"{self._place.bucket}{made}")

    # --- objects

    def _write(self) -> Found:
        self._wrote_objects = True
        self._requests.s3("PUT", self._object, body=self._body, doing="write an object")
        return Found(self._object)

    def _read(self) -> Found:
        if self._requests.s3("GET", self._object, doing="read an object").body != self._body:
            raise _wrong("an object was given back otherwise than it was written")
        return Found(f"{len(self._body):,} bytes, the same")

    def _read_part(self) -> Found:
        wanted = {"Range": "bytes=1000-1999"}
        answer = self._requests.s3("GET", self._object, headers=wanted, doing="read a part", fine=(200, 206))
        if answer.status != 206 or answer.body != self._body[1000:2000]:
            raise _wrong("a part of an object was asked for, and something else given")
        return Found("1,000 bytes of it")

    def _listed(self) -> Found:
        if self._requests.names(self._probe) != [self._object]:
            raise _wrong("an object that was written is not listed at once")
        return Found("at once")

    def _delete(self) -> Found:
        self._requests.s3("DELETE", self._object, doing="delete an object")
        if self._requests.s3("GET", self._object).status != 404 or self._requests.names(self._probe):
            raise _wrong("an object that was deleted is still there")
        return Found("and gone at once")

    # --- rows

    def _k2v_answers(self) -> Found:
        host = urlsplit(self._requests.k2v_url()).netloc
        try:
            answer = self._requests.anonymous({"limit": "1"}, k2v=True)
        except CheckFailed as error:
            hint = f"{error.hint}; {K2V_ON}"
            raise CheckFailed(str(error), hint=hint, exit_code=error.exit_code) from error
        if answer.status >= 500:
            raise broken(answer, host)
        if answer.kind.endswith("/xml"):
            raise CheckFailed(
                f"{host} is S3, not K2V",
                hint=f"k2v= in the URL names K2V's own port; {K2V_ON}",
                exit_code=BadConfiguration.exit_code,
            )
        if "region" not in read_object(answer):
            raise stranger(answer, host, "K2V")
        return Found(host)

    def _k2v_key(self) -> Found:
        query = {"limit": "1", "prefix": self._place.prefix}
        answer = self._requests.k2v("GET", query=query, doing="read rows")
        if "partitionKeys" not in read_object(answer):
            raise _wrong("what should be a list of partitions is none")
        return Found(f"bucket {self._place.bucket}")

    def _write_row(self) -> Found:
        self._wrote_rows = True
        self._row("PUT", body=b"probe", doing="write a row")
        return Found(self._rows)

    def _read_row(self) -> Found:
        answer = self._row("GET", doing="read a row")
        self._token = answer.headers.get("x-garage-causality-token", "")
        if answer.body != b"probe" or not self._token:
            raise _wrong("a row was given back otherwise than it was written")
        return Found("the same")

    def _poll_row(self) -> Found:
        answer = self._requests.k2v(
            "POST", self._rows, query={"poll_range": ""}, body={"timeout": 1}, doing="poll rows"
        )
        if [item.get("sk") for item in read_object(answer).get("items", ())] != ["row"]:
            raise _wrong("a poll does not see a row that is there")
        return Found("at once")

    def _delete_row(self) -> Found:
        self._row("DELETE", doing="delete a row", token=self._token)
        self._row("GET", doing="read a row", fine=(204, 404))
        return Found("and gone at once")

    def _row(
        self, method: str, *, doing: str, body: bytes = b"", token: str = "", fine: Sequence[int] = (200, 204)
    ) -> Answer:
        headers = {"Accept": "application/octet-stream"}
        if token:
            headers["X-Garage-Causality-Token"] = token
        query = {"sort_key": "row"}
        return self._requests.k2v(
            method, self._rows, query=query, headers=headers, body=body, doing=doing, fine=fine
        )

    # --- all together

    def _account(self) -> Found:
        from aerogramme.store import open_stores

        self._wrote_objects, self._wrote_rows = True, self._place.k2v is not None
        place = replace(self._place, prefix=self._probe)
        return use_account(lambda: open_stores(place))


def _skew(answer: Answer) -> float | None:
    """How many seconds the store's clock, which tells whole ones, is ahead of ours."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).timestamp() + 0.5 - time.time()
    except ValueError:
        return None


def _wrong(text: str) -> CheckFailed:
    hint = "a store must be strongly consistent, as AWS S3 and Garage are: see docs/stores.md"
    return CheckFailed(text, hint=hint, exit_code=BadSyntax.exit_code)
