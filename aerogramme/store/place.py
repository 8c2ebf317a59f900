"""Where accounts are kept, said in one line of text: a folder, memory, or a bucket.

    sqlite:FOLDER                                  or just the folder's path
    memory:                                        gone with the process
    s3:http[s]://HOST[:PORT]/BUCKET[/PREFIX]       any S3; rows are objects
    s3:BUCKET[/PREFIX]                             S3 of AWS
    garage:http[s]://HOST[:PORT]/BUCKET[/PREFIX]?k2v=http[s]://HOST[:PORT]

Parameters of buckets, after `?` and between `&`: `k2v` (garage only, and needed), `region`, `profile` (of the
AWS configuration), `style` (path or virtual), `ca` (a PEM file that certificates are checked with as well),
`verify=no`. Credentials are not among them: a line of text is seen by many (credentials.py).
"""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from aerogramme.errors import BadConfiguration

Kind = Literal["sqlite", "memory", "s3", "garage"]

_PARAMETERS = {"region", "profile", "style", "ca", "verify"}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", re.ASCII)
# What needs no escape in a URL, so that there is one way to write a prefix; and no segment of dots only,
# which clients and proxies resolve.
_SEGMENT = re.compile(r"(?!\.+\Z)[A-Za-z0-9._~-]+", re.ASCII)
_REGION = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_FORMS = "garage:http[s]://HOST[:PORT]/BUCKET[/PREFIX]?k2v=URL, s3:http[s]://HOST[:PORT]/BUCKET[/PREFIX]"


@dataclass(frozen=True, slots=True)
class Place:
    """One place. `folder` is for sqlite; all that follows it, for buckets.

    endpoint    scheme, host and port of the S3 service; None is AWS
    k2v         those of Garage's row store
    prefix      what all keys in the bucket begin with: empty, or ends with a slash
    region      None: whatever the AWS configuration says
    profile     of the AWS configuration; None: whatever it says
    path_style  the bucket is in the path of URLs, not in the host name
    ca          PEM file of authorities that are trusted besides those of the system
    verify      whether certificates are checked
    """

    kind: Kind
    folder: Path | None = None
    endpoint: str | None = None
    k2v: str | None = None
    bucket: str = ""
    prefix: str = ""
    region: str | None = None
    profile: str | None = None
    path_style: bool = True
    ca: Path | None = None
    verify: bool = True

    def tls(self) -> ssl.SSLContext:
        """How connections to it are secured. `BadConfiguration` if the file of authorities cannot be read."""
        context = ssl.create_default_context()
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except OSError as error:  # ssl.SSLError is one
                raise BadConfiguration(
                    f"The certificates in {self.ca} cannot be read: {error.strerror}",
                    hint="ca= in the store's address names a PEM file",
                ) from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @staticmethod
    def parse(text: str | Path) -> "Place":
        """The place that a line of text, or a folder's path, names. Nothing is touched.

        `BadConfiguration`, with a hint, for whatever is not meant so.
        """
        if isinstance(text, Path):
            return Place("sqlite", Path(text))
        kind, colon, rest = text.partition(":")
        if not colon or "/" in kind:
            rest, kind = text, "sqlite"
        if kind == "sqlite":
            if not rest:
                raise BadConfiguration("The store has no folder", hint="sqlite:FOLDER")
            return Place("sqlite", Path(rest))
        if kind == "memory":
            if rest:
                raise BadConfiguration("A store in memory has no name", hint="memory:")
            return Place("memory")
        if kind == "s3":
            return _bucket("s3", rest)
        if kind == "garage":
            return _bucket("garage", rest)
        raise BadConfiguration(
            f"There is no kind of store called {kind!r}", hint=f"sqlite:FOLDER, a path, {_FORMS}, memory:"
        )


def _bucket(kind: Literal["s3", "garage"], text: str) -> Place:
    url = _split(text, f"{kind}:")
    parameters = _parameters(url.query, _PARAMETERS | ({"k2v"} if kind == "garage" else set()))
    endpoint = _endpoint(url) if url.scheme else None
    if endpoint is None and (kind == "garage" or url.netloc):
        raise BadConfiguration(
            f"The store's address begins with http:// or https:// after {kind}:", hint=_FORMS
        )
    bucket, _, prefix = url.path.removeprefix("/" if url.scheme else "").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise BadConfiguration(
            f"{bucket!r} cannot be the name of a bucket" if bucket else "The store's address names no bucket",
            hint=_FORMS,
        )
    prefix = prefix.removesuffix("/")
    if prefix and not all(_SEGMENT.fullmatch(segment) for segment in prefix.split("/")):
        raise BadConfiguration(
            f"{prefix!r} cannot be a prefix", hint="letters, digits and - . _ ~, in parts between slashes"
        )
    k2v = None
    if kind == "garage":
        if "k2v" not in parameters:
            raise BadConfiguration(
                "A Garage store needs the address of its K2V service",
                hint="add ?k2v=http://HOST:PORT, the [k2v_api] api_bind_addr of Garage's configuration",
            )
        k2v_url = _split(parameters["k2v"], "k2v=")
        k2v = _endpoint(k2v_url)
        if k2v_url.path not in ("", "/") or k2v_url.query:
            raise BadConfiguration("k2v= takes an address without a path", hint="k2v=http://HOST:PORT")
    region = parameters.get("region", "garage" if kind == "garage" else None)
    if region is not None and not _REGION.fullmatch(region):
        raise BadConfiguration(f"{region!r} cannot be a region", hint="region=garage, region=eu-west-3")
    return Place(
        kind,
        endpoint=endpoint,
        k2v=k2v,
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        region=region,
        profile=parameters.get("profile"),
        # AWS has given up paths for new regions; most others know nothing else unless they are told
        path_style=_choice(parameters, "style", "path", "virtual", default=endpoint is not None),
        ca=Path(parameters["ca"]) if "ca" in parameters else None,
        verify=_choice(parameters, "verify", "yes", "no", default=True),
    )


def _split(text: str, what: str) -> SplitResult:
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise BadConfiguration(f"{what} is not followed by an address: {error}", hint=_FORMS) from None
    if "@" in url.netloc:  # the address is not repeated: a password is in it
        raise BadConfiguration(
            f"There are credentials in the address after {what}",
            hint="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials",
        )
    if "#" in text:
        raise BadConfiguration(f"There is a # in the address after {what}", hint="it has no meaning there")
    return url


def _endpoint(url: SplitResult) -> str:
    """Scheme, host and port, as they are written into requests."""
    try:
        port = url.port
    except ValueError:
        port = -1
    if url.scheme not in ("http", "https") or not url.hostname or port == -1:
        raise BadConfiguration(
            f"{url.scheme}://{url.netloc} is not the address of a service", hint="http[s]://HOST[:PORT]"
        )
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{host}" + (f":{port}" if port is not None else "")


def _parameters(query: str, known: set[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise BadConfiguration(
            f"{query!r} is not a list of name=value", hint="?name=value&name=value"
        ) from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise BadConfiguration(f"{name!r} is no parameter of a store", hint=", ".join(sorted(known)))
        if name in parameters or not value:
            raise BadConfiguration(f"{name!r} must be there once, with a value", hint=f"{name}=VALUE")
        parameters[name] = value
    return parameters


def _choice(parameters: dict[str, str], name: str, yes: str, no: str, *, default: bool) -> bool:
    value = parameters.get(name, yes if default else no)
    if value not in (yes, no):
        raise BadConfiguration(f"{name}={value} has no meaning", hint=f"{name}={yes} or {name}={no}")
    return value == yes
