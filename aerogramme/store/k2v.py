"""K2V, the row store of Garage: its calls as signed requests, over httpx.

Items lie in partitions and are sorted by their keys; each has any number of values at once, as nothing is
ever overwritten that a writer has not seen. All reads but polls are answered by a majority of the nodes, all
writes are on a majority when they return.
"""

import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import trio

from aerogramme.errors import Unavailable
from aerogramme.store.credentials import Credentials
from aerogramme.store.place import Place
from aerogramme.store.retry import (
    CONNECT_SECONDS,
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
    import httpx

log = logging.getLogger(__name__)

# Items that one answer holds: values have up to about 64 KiB, and usually some hundred bytes. Those of an
# index are empty: so many take Garage and us some 20 ms, and pages of them have to wait for one another.
PAGE = 500
INDEX_PAGE = 5000

AFTER = "\0"  # of the keys after any key, the first is the key with this


class Item(NamedTuple):
    """What there is under a key. No values: it was deleted. `token`: what a write replaces these values
    with."""

    key: str
    token: str
    values: list[bytes]


class New(NamedTuple):
    """An item to write. Without the token of what it replaces, the value is added to what is there."""

    partition: str
    key: str
    value: bytes
    token: str | None = None


class Range(NamedTuple):
    """The keys of a partition from `start` to before `end`; the key `start` alone if there is no end."""

    partition: str
    start: str
    end: str | None = None


class K2V:
    """The row store of a bucket. All methods try again what may pass, and raise `Unavailable` in the end."""

    def __init__(self, place: Place, credentials: Credentials) -> None:
        assert place.k2v is not None
        self._endpoint = place.k2v
        self._place, self._credentials = place, credentials
        self._client: httpx.AsyncClient | None = None
        self._reach = Reach(partial(self._ask, "?limit=1", None, READ_TRY_SECONDS))

    async def insert(self, items: Sequence[New]) -> None:
        """One request. In this order on each node; when it fails, any of them may be there, or come."""
        body = [
            {"pk": each.partition, "sk": each.key, "ct": each.token, "v": b64encode(each.value).decode()}
            for each in items
        ]
        if body:
            await self._write("", body)

    async def search(
        self, ranges: Sequence[Range], *, page: int = PAGE, deleted: bool = False
    ) -> list[list[Item]]:
        """The items of each range, sorted; one request for each `page` of the longest. Those that were
        deleted, which have no values, if they are asked for.

        A node that has missed a deletion gives the item as if it were there, and those that know do not
        object. So who has to be sure asks for those deleted as well, or for keys one by one.
        """
        found: list[list[Item]] = [[] for _ in ranges]
        asked = {n: _query(each, page, deleted) for n, each in enumerate(ranges)}
        while asked:
            pages = await self._search([*asked.values()])
            for n, (items, following) in zip([*asked], pages, strict=True):
                found[n] += items
                if following is None:
                    del asked[n]
                else:
                    asked[n]["start"] = following
        return found

    async def first(self, where: Range, limit: int) -> tuple[list[Item], bool]:
        """The first items of a range, sorted, also those deleted; and whether there are more. One request,
        which gives no more than an answer holds."""
        [(items, following)] = await self._search([_query(where, min(limit, PAGE), deleted=True)])
        return items, following is not None

    async def delete(self, ranges: Sequence[Range]) -> None:
        """One request. What is there when it comes goes, whoever wrote it."""
        body = [
            {"partitionKey": each.partition, "start": each.start}
            | ({"singleItem": True} if each.end is None else {"end": each.end})
            for each in ranges
        ]
        if body:
            await self._write("delete", body)

    async def poll(self, where: Range, marker: str | None, seconds: int) -> tuple[list[Item], str] | None:
        """The items of a range that were written since the marker was given, and a new one; None when nothing
        came for so many seconds (1 to 600). Without a marker: at once what is there. Those deleted are items
        too.

        What comes from a single node counts: another read need not show it yet, or ever.
        """
        body = {"start": where.start, "end": where.end, "timeout": seconds, "seenMarker": marker}
        path = f"/{quote(where.partition, safe='')}?poll_range="
        ask = partial(self._ask, path, body, seconds + READ_TRY_SECONDS)
        try:
            answer = await ask()
        except Passing as fault:
            # It may have waited for long, so there is all the patience left: the connection was cut, or more
            # came at once than Garage has room for (sub.rs: 8 items, and it answers 500).
            log.debug("again at once: %s", fault)
            answer = await persist(ask, READ_SECONDS)
        if answer is None:
            return None
        with self._as_k2v_says():
            return [*map(_item, answer["items"])], _text(answer["seenMarker"])

    async def partitions(self, prefix: str) -> list[str]:
        """The partitions that hold something and have names that begin so. Known some moments late."""
        found: list[str] = []
        start = ""
        while True:
            query = f"?prefix={quote(prefix, safe='')}" + (f"&start={quote(start, safe='')}" if start else "")
            answer = await persist(
                partial(self._ask, query, None, READ_TRY_SECONDS), READ_SECONDS, reach=self._reach
            )
            with self._as_k2v_says():
                found += [_text(each["pk"]) for each in answer["partitionKeys"]]
                if not answer["more"]:
                    return found
                start = _text(answer["nextStart"])

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _search(self, queries: Sequence[dict[str, Any]]) -> list[tuple[list[Item], str | None]]:
        """For each query its items, and where to go on if there are more."""
        ask = partial(self._ask, "?search=", queries, READ_TRY_SECONDS)
        answers = await persist(ask, READ_SECONDS, reach=self._reach)
        with self._as_k2v_says():
            return [
                ([*map(_item, answer["items"])], _text(answer["nextStart"]) if answer["more"] else None)
                for _, answer in zip(queries, answers, strict=True)
            ]

    async def _write(self, call: str, body: object) -> None:
        where = f"?{call}=" if call else ""
        await persist(partial(self._ask, where, body, WRITE_TRY_SECONDS), WRITE_SECONDS, reach=self._reach)

    async def _ask(self, where: str, body: object, patience: float) -> Any:
        """One request: POST, or GET if there is no body. What the answer holds; None for nothing."""
        import httpx

        url = f"{self._endpoint}/{self._place.bucket}{where}"
        method, content = ("GET", b"") if body is None else ("POST", json.dumps(body).encode())
        sign = partial(self._signed, method, url, content)
        headers = await trio.to_thread.run_sync(sign, abandon_on_cancel=True)
        timeout = httpx.Timeout(patience, connect=CONNECT_SECONDS, pool=None)
        try:
            client = self._opened()
            answer = await client.request(method, url, content=content, headers=headers, timeout=timeout)
        except httpx.TransportError as error:
            raise self._judged(error) from None
        check_clock(answer.headers.get("date", ""), time())
        if answer.status_code in (204, 304):
            return None
        try:
            found = answer.json()
        except ValueError:
            found = None
        status = answer.status_code
        if status != 200 and (isinstance(found, dict) or status in (401, 403, 429) or status >= 500):
            raise judge(status, str(found.get("code", "")) if isinstance(found, dict) else "")
        if status != 200 or not isinstance(found, dict | list):  # Garage's errors are JSON, too
            raise self._stranger()
        return found

    @contextmanager
    def _as_k2v_says(self) -> Iterator[None]:
        """While an answer is taken apart: `Unavailable` if it is none that K2V gives."""
        try:
            yield
        except (LookupError, TypeError, ValueError) as error:  # binascii.Error is one
            raise self._stranger() from error

    def _stranger(self) -> Unavailable:
        return Unavailable(hint=f"what answers at {self._endpoint} is not K2V: check k2v= in the address")

    def _opened(self) -> "httpx.AsyncClient":
        """The connections, made when the first is needed."""
        if self._client is None:
            import httpx

            logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for each request
            # Polls hold many connections for long. Others are used again, also over plain HTTP: Garage stalls
            # for 40 ms only where it sends an answer in pieces (objects), and K2V's answers go out as a
            # whole: 3.5 kB take 1.4 ms, on a new connection 2.0 ms; 64 kB take 1.9 and 2.4 ms (measured, one
            # node).
            self._client = httpx.AsyncClient(
                verify=self._place.tls() if self._endpoint.startswith("https:") else False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
                trust_env=False,  # the place says where it is, and what goes with the request
            )
        return self._client

    def _signed(self, method: str, url: str, content: bytes) -> dict[str, str]:
        """The headers that go with a request. For a thread, as credentials may have to be fetched."""
        from hashlib import sha256

        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import ReadOnlyCredentials

        keys = ReadOnlyCredentials(*self._credentials.keys())
        headers = {"X-Amz-Content-SHA256": sha256(content).hexdigest()}  # Garage wants to have it
        request = AWSRequest(method, url, headers, content)
        SigV4Auth(keys, "k2v", self._credentials.region()).add_auth(request)
        return dict(request.headers)

    def _judged(self, error: Exception) -> Exception:
        """httpx's error in our words."""
        if "CERTIFICATE" in str(error):
            return Unavailable(
                "The store's certificate is not trusted", hint="ca=FILE in its address says who signs it"
            )
        return Passing(f"{self._endpoint}: {str(error) or type(error).__name__}")


def _query(where: Range, page: int, deleted: bool) -> dict[str, Any]:
    query: dict[str, Any] = {"partitionKey": where.partition, "start": where.start, "tombstones": deleted}
    if where.end is None:
        return query | {"singleItem": True}
    return query | {"end": where.end, "limit": page}


def _item(found: dict[str, Any]) -> Item:
    values = [b64decode(value) if value else b"" for value in found["v"] if value is not None]
    return Item(_text(found["sk"]), _text(found["ct"]), values)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value
