"""A bucket of an S3 service, over obstore: requests in threads, errors in our words.

obstore's calls block and let go of the GIL, so each runs in a trio thread; that costs a tenth of what a
client in Python does. It repeats nothing itself, but the parts of an upload: that is retry.py's part.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from aerogramme.errors import Unavailable
from aerogramme.store.credentials import Credentials
from aerogramme.store.place import Place
from aerogramme.store.retry import (
    CONNECT_SECONDS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    READ_SECONDS,
    READ_TRY_SECONDS,
    WRITE_SECONDS,
    WRITE_TRY_SECONDS,
    Passing,
    Reach,
    check_clock,
    judge,
    persist,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Store

T = TypeVar("T")

THREADS = 64  # requests at once, of all accounts
CLOCK_AGE = 15 * 60  # seconds that a look at the store's clock is good for


class Bucket:
    """A bucket, and the connections to it, for all accounts in it.

    `patience`: seconds that one try of a read and one of a write wait for an answer.
    """

    def __init__(
        self,
        place: Place,
        credentials: Credentials,
        *,
        patience: tuple[float, float] = (READ_TRY_SECONDS, WRITE_TRY_SECONDS),
    ) -> None:
        self.place, self.credentials = place, credentials
        self._patience = patience
        self._lock = Lock()
        self._clients: dict[str, S3Store] = {}
        self._turns = cast("trio.CapacityLimiter", _Turns())  # it does what trio asks of one
        self._clock_seen = float("-inf")
        self._reach = Reach(partial(self._call, "read", _ask_anything))

    async def read(self, ask: Callable[["S3Store"], T]) -> T:
        """What `ask` returns, which is called in a thread, again for what may pass."""
        return await persist(partial(self._call, "read", ask), READ_SECONDS, reach=self._reach)

    async def write(self, ask: Callable[["S3Store"], T]) -> T:
        return await persist(partial(self._call, "write", ask), WRITE_SECONDS, reach=self._reach)

    async def send(self, ask: Callable[["S3Store"], T]) -> T:
        """Once: for a step of an upload, whose requests obstore tries again itself."""
        try:
            return await self._call("upload", ask)
        except Passing as fault:
            raise Unavailable(hint=str(fault)) from None

    async def check_clock(self) -> None:
        """`Unavailable` if this machine's clock is too far from the store's; looked at now and then.

        S3 would refuse requests only a quarter of an hour off, and obstore keeps the `Date` of answers to
        itself: so the store is asked once without it, and without a signature, as any answer has a date.
        """
        if trio.current_time() - self._clock_seen < CLOCK_AGE:
            return

        def ask() -> None:
            import httpx

            where = self.place.endpoint or f"https://s3.{self.credentials.region()}.amazonaws.com"
            try:
                answer = httpx.head(where, timeout=self._patience[0], verify=self.place.tls())
            except httpx.TransportError as error:
                raise Passing(f"{where}: {error}") from None
            check_clock(answer.headers.get("date", ""), time())

        work = partial(trio.to_thread.run_sync, ask, abandon_on_cancel=True, limiter=self._turns)
        await persist(work, READ_SECONDS, reach=self._reach)
        self._clock_seen = trio.current_time()

    async def _call(self, purpose: str, ask: Callable[["S3Store"], T]) -> T:
        def in_thread() -> T:
            self.credentials.keys()  # what is wrong with them is said in our words; obstore asks again
            try:
                return ask(self._client(purpose))
            except FileNotFoundError as error:
                raise judge(404, _code(str(error))) from None
            except _obstore_errors() as error:
                raise self._judged(error) from None

        return await trio.to_thread.run_sync(in_thread, abandon_on_cancel=True, limiter=self._turns)

    def _client(self, purpose: str) -> "S3Store":
        """obstore's client, made when it is first used. Time-outs are a matter of the client, so there are
        some. All is said that it would take from the environment otherwise: the place says where, no other.
        """
        with self._lock:
            if purpose in self._clients:
                return self._clients[purpose]
            from obstore.store import S3Store

            place = self.place
            config: dict[str, Any] = {
                "region": self.credentials.region(),
                "virtual_hosted_style_request": not place.path_style,
                "skip_signature": False,
            }
            if place.endpoint is not None:
                scheme, _, host = place.endpoint.partition("://")
                at = "" if place.path_style else f"{place.bucket}."
                config["aws_endpoint_url_s3"] = f"{scheme}://{at}{host}"
            again = purpose == "upload"
            client = S3Store(
                place.bucket,
                config=config,  # type: ignore[arg-type] # its names depend on the place
                client_options=self._options(purpose),
                retry_config={
                    "max_retries": 10 if again else 0,
                    "retry_timeout": timedelta(seconds=WRITE_SECONDS if again else 0),
                    "backoff": {
                        "init_backoff": timedelta(seconds=FIRST_PAUSE),
                        "max_backoff": timedelta(seconds=LONGEST_PAUSE),
                        "base": 2,
                    },
                },
                credential_provider=self.credentials.for_obstore,
            )
            self._clients[purpose] = client
            return client

    def _options(self, purpose: str) -> "ClientConfig":
        place = self.place
        options: ClientConfig = {
            "user_agent": "aerogramme",
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=self._patience[purpose != "read"]),
            "timeout": timedelta(hours=1),  # of a whole request: however long it takes, as long as it moves
        }
        if place.endpoint is not None and place.endpoint.startswith("http:"):
            options["allow_http"] = True
            # A server that leaves Nagle's algorithm on, as Garage does, stalls for the 40 ms of a delayed ACK
            # at every answer of some kilobytes on a connection that was used before. A new one costs less
            # (docs/performance.md). Answers to writes are short.
            if purpose == "read":
                options["pool_max_idle_per_host"] = "0"
        if place.ca is not None:
            place.tls()  # says what is wrong with it
            options["root_certificate"] = place.ca.read_bytes()
        if not place.verify:
            options["allow_invalid_certificates"] = True
        return options

    def _judged(self, error: Exception) -> Exception:
        """obstore's error in our words. It has classes for a few kinds only; the rest is in the text."""
        text = str(error)
        if (answered := status(error)) is not None:
            return judge(answered, _code(text))
        if refused := re.search(r"DeleteObjects request failed .*\(code: (\w+)\)", text):
            return judge(404 if refused[1] == "NoSuchKey" else 400, refused[1])
        if "Received redirect" in text:
            return judge(307)
        if (distrusted := _CERTIFICATE.search(text)) is not None:
            return Unavailable(
                "The store's certificate is not trusted",
                # openssl makes such by default; this one may sign others, so that it must not be a server's
                hint="it is that of an authority itself: let that sign one for the server"
                if "CaUsedAsEndEntity" in text
                else f"{distrusted[1]}: ca=FILE in the store's address says whose signature is good",
            )
        if "External AWS credential provider" in text:
            return Unavailable(hint="the credentials cannot be had now")
        where = self.place.endpoint or "AWS"
        if "kind: Connect" in text:
            return Passing(f"no connection to {where}")
        if "kind: Timeout" in text:
            return Passing(f"no answer from {where} in time")
        return Passing(f"{where}: {text.partition(chr(10))[0]}")


class _Turns:
    """A thread for each request, but not for more than some: a limiter, as trio takes it.

    While the store is away each keeps its thread for seconds. Who waits longer for one than a request may
    take is told that the store is away, too.
    """

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(THREADS)

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        with trio.move_on_after(READ_SECONDS):
            await self._limiter.acquire_on_behalf_of(borrower)
            return
        raise Passing(f"{THREADS} requests are under way, and none ends")

    def release_on_behalf_of(self, borrower: object) -> None:
        self._limiter.release_on_behalf_of(borrower)


_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")


def status(error: Exception) -> int | None:
    """The status of the answer that obstore's error tells of, if there was one."""
    found = re.search(r"non-2xx status code: (\d{3})", str(error))
    return int(found[1]) if found else None


def _ask_anything(client: "S3Store") -> None:
    import obstore

    obstore.head(client, "there-is-no-such-object")


def _code(text: str) -> str:
    found = re.search(r"<Code>(\w+)</Code>", text)
    return found[1] if found else ""


def _obstore_errors() -> type[Exception]:
    from obstore.exceptions import BaseError

    return BaseError
