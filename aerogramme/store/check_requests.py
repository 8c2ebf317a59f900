"""Signed requests of `check` to S3 and K2V, and what it means when they are refused.

They go out as they are made here, so that a wrong region is told; botocore would mend it in silence.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from aerogramme.errors import BadConfiguration, BadSyntax
from aerogramme.store.check_http import Answer, exchange
from aerogramme.store.check_steps import NOT_ALLOWED, CheckFailed
from aerogramme.store.credentials import Credentials
from aerogramme.store.place import Place

FINE = (200, 204)
POLICY = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload"


class Requests:
    """To one bucket. With `doing`, an answer of another status than `fine` raises CheckFailed."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._credentials = Credentials(place)

    def credentials(self) -> str:
        """Where they were found, in botocore's words. Raises BadConfiguration, Unavailable."""
        return self._credentials.source()

    def anonymous(self, query: Mapping[str, str], *, k2v: bool = False) -> Answer:
        """Asks the bucket without credentials."""
        return exchange(f"{self.k2v_url() if k2v else self.s3_url()}?{urlencode(query)}", self._place)

    def s3(
        self,
        method: str,
        name: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        doing: str = "",
        fine: Sequence[int] = FINE,
    ) -> Answer:
        answer = self._signed("s3", method, self.s3_url(name), query or {}, headers or {}, body)
        return self._judged(answer, doing, fine)

    def k2v(
        self,
        method: str,
        partition: str = "",
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        body: object = None,
        doing: str,
        fine: Sequence[int] = FINE,
    ) -> Answer:
        """`body`: bytes, or what becomes JSON."""
        octets = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = self._signed("k2v", method, self.k2v_url(partition), query, headers or {}, octets)
        return self._judged(answer, doing, fine)

    def s3_url(self, name: str = "") -> str:
        place = self._place
        endpoint = place.endpoint or f"https://s3.{self._credentials.region()}.amazonaws.com"
        scheme, _, host = endpoint.partition("://")
        start = f"{host}/{place.bucket}" if place.path_style else f"{place.bucket}.{host}"
        return f"{scheme}://{start}/{quote(name)}" if name or not place.path_style else f"{scheme}://{start}"

    def k2v_url(self, partition: str = "") -> str:
        start = f"{self._place.k2v}/{self._place.bucket}"
        return f"{start}/{quote(partition)}" if partition else start

    def names(self, prefix: str) -> list[str]:
        """All objects whose names begin so."""
        names: list[str] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            text = self.s3("GET", query=query, doing="list the bucket").body.decode()
            names += [html.unescape(key) for key in re.findall(r"<Key>([^<]*)</Key>", text)]
            more = re.search(r"<NextContinuationToken>([^<]*)<", text)
            if more is None:
                return names
            query["continuation-token"] = html.unescape(more[1])

    def partitions(self, prefix: str) -> list[str]:
        """The partitions of rows whose names begin so, as far as their index knows them by now."""
        found: list[str] = []
        query = {"prefix": prefix}
        while True:
            answer = read_object(self.k2v("GET", query=query, doing="read rows"))
            found += [str(each["pk"]) for each in answer.get("partitionKeys", ())]
            if not answer.get("more"):
                return found
            query["start"] = str(answer["nextStart"])

    def create_bucket(self) -> None:
        body, region = b"", self._credentials.region()
        if self._place.endpoint is None and region != "us-east-1":  # AWS wants to be told; others know
            body = (
                b'<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                b"<LocationConstraint>%s</LocationConstraint></CreateBucketConfiguration>" % region.encode()
            )
        self.s3("PUT", body=body, doing="create the bucket")

    def _signed(
        self,
        service: str,
        method: str,
        url: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        # Heavy, and wanted here alone.
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials

        if query:
            url += "?" + urlencode(query, quote_via=quote)
        request = botocore.awsrequest.AWSRequest(method, url, dict(headers), body)
        keys = botocore.credentials.ReadOnlyCredentials(*self._credentials.keys())
        botocore.auth.S3SigV4Auth(keys, service, self._credentials.region()).add_auth(request)
        return exchange(url, self._place, method, headers=dict(request.headers), body=body)

    def _judged(self, answer: Answer, doing: str, fine: Sequence[int]) -> Answer:
        if doing and answer.status not in fine:
            raise self._refused(answer, doing)
        return answer

    def _refused(self, answer: Answer, doing: str) -> CheckFailed:
        """What is wrong, and what to do about it."""
        code, message, region = error_of(answer)
        garage = self._place.kind == "garage"
        bucket = self._place.bucket
        allow = f"garage bucket allow --read --write --owner {bucket} --key NAME"
        if answer.status >= 500 or answer.status == 429:
            return broken(answer, urlsplit(self.s3_url()).netloc)
        if code == "InvalidAccessKeyId" or "No such key" in message:
            return CheckFailed(
                "the store does not know this access key",
                hint="`garage key list` shows those it knows" if garage else "perhaps it is of another store",
                exit_code=NOT_ALLOWED,
            )
        if code == "SignatureDoesNotMatch" or "Invalid signature" in message:
            return CheckFailed(
                "the secret key is not that of this access key",
                hint="`garage key info --show-secret NAME` shows it" if garage else "copy it anew",
                exit_code=NOT_ALLOWED,
            )
        if code == "RequestTimeTooSkewed":
            return CheckFailed(f"the clocks differ: {message}", hint="let both be set by NTP")
        if code == "AuthorizationHeaderMalformed" or answer.status in (301, 307):
            actual = region or answer.headers.get("x-amz-bucket-region", "…")
            return CheckFailed(
                f"the region is not {self._credentials.region()}",
                hint=f"put region={actual} into the URL",
                exit_code=BadConfiguration.exit_code,
            )
        if code == "NoSuchBucket":
            made = f"garage bucket create {bucket}; {allow}" if garage else "make it in the store's console"
            return CheckFailed(
                f"there is no bucket {bucket}",
                hint=f"{made}; or --create, where the key may",
                exit_code=BadConfiguration.exit_code,
            )
        if answer.status == 403:
            hint = allow if garage else f"its policy must allow, on the bucket and all in it, {POLICY}"
            if doing == "create the bucket":
                by_hand = f"garage bucket create {bucket}; {allow}; or garage key allow --create-bucket NAME"
                hint = by_hand if garage else "make it in the store's console"
            return CheckFailed(f"this key may not {doing}", hint=hint, exit_code=NOT_ALLOWED)
        return CheckFailed(
            f"the store does not {doing}: {answer.status} {code} {message}".rstrip(),
            hint="look at its log",
            exit_code=BadSyntax.exit_code,
        )


def error_of(answer: Answer) -> tuple[str, str, str]:
    """Code, message and region of an error, of S3 (XML) or K2V (JSON); empty where it does not say."""
    if answer.kind == "application/json":
        found = read_object(answer)
        return str(found.get("code", "")), str(found.get("message", "")), str(found.get("region", ""))
    text = answer.body.decode(errors="replace")
    matches = [re.search(rf"<{name}>([^<]*)</{name}>", text) for name in ("Code", "Message", "Region")]
    code, message, region = (html.unescape(match[1]) if match else "" for match in matches)
    return code, message, region


def read_object(answer: Answer) -> dict[str, Any]:
    """The JSON object in an answer; an empty one if there is none."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def broken(answer: Answer, host: str) -> CheckFailed:
    code, message, _ = error_of(answer)
    said = f": {code} {message}".rstrip() if code else ""
    return CheckFailed(
        f"{host} has a fault of its own: {answer.status}{said}",
        hint="look at its log; on Garage `garage status` shows whether enough nodes are up",
    )


def stranger(answer: Answer, host: str, wanted: str) -> CheckFailed:
    what = f"{answer.status}, {answer.kind or 'no type'}{server(answer)}"
    return CheckFailed(
        f"what answers on {host} is not {wanted}: {what}",
        hint="is this the right host and port, and not a web page or a proxy before it?",
        exit_code=BadConfiguration.exit_code,
    )


def server(answer: Answer) -> str:
    name = answer.headers.get("server", "")
    return f" ({name})" if name and name.isprintable() else ""
