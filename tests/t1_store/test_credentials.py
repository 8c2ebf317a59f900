"""Credentials come from where the AWS tools have them, and errors say what is wrong with them."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aerogramme.errors import BadConfiguration, Unavailable
from aerogramme.store.credentials import Credentials
from aerogramme.store.place import Place

ENVIRONMENT = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
]


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that the AWS configuration is read from, and nothing else of it."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "GKme")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    credentials = Credentials(Place("s3", bucket="mail"))
    assert credentials.keys() == ("GKme", "hush", None)
    assert "hush" not in repr(credentials.keys())
    given = credentials.for_obstore()
    assert (given["access_key_id"], given["secret_access_key"], given["token"]) == ("GKme", "hush", None)


def test_from_a_profile(aws: Path) -> None:
    (aws / "credentials").write_text(
        "[default]\naws_access_key_id=a\naws_secret_access_key=b\n"
        "[mail]\naws_access_key_id=c\naws_secret_access_key=d\naws_session_token=e\n"
    )
    (aws / "config").write_text("[profile mail]\nregion=eu-west-3\n")
    assert Credentials(Place("s3", bucket="mail")).keys() == ("a", "b", None)
    credentials = Credentials(Place("s3", bucket="mail", profile="mail"))
    assert credentials.keys() == ("c", "d", "e")
    assert credentials.region() == "eu-west-3"


def test_the_region_of_the_place_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Credentials(Place("s3", bucket="mail")).region() == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert Credentials(Place("s3", bucket="mail")).region() == "eu-north-1"
    assert Credentials(Place("garage", bucket="mail", region="garage")).region() == "garage"


@pytest.fixture
def metadata() -> Iterator[str]:
    """A container's metadata service. Each answer has other keys, and they expire before long."""

    class Service(BaseHTTPRequestHandler):
        answers = 0

        def do_GET(self) -> None:
            Service.answers += 1
            if Service.answers > 2:
                self.send_error(500)
                return
            expires = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 60, UTC)
            body = (
                f'{{"AccessKeyId": "key{Service.answers}", "SecretAccessKey": "s", "Token": "t",'
                f' "Expiration": "{expires:%Y-%m-%dT%H:%M:%SZ}"}}'
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/keys"
        server.shutdown()
        thread.join()


def test_what_expires_is_fetched_again(metadata: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata)
    credentials = Credentials(Place("s3", bucket="mail"))
    assert credentials.keys() == ("key2", "s", "t")  # the first were about to expire when they came


def test_no_credentials_anywhere() -> None:
    with pytest.raises(BadConfiguration) as refused:
        Credentials(Place("s3", bucket="mail")).keys()
    assert "AWS_ACCESS_KEY_ID" in refused.value.hint


def test_a_profile_that_is_not_there() -> None:
    with pytest.raises(BadConfiguration, match="nobody"):
        Credentials(Place("s3", bucket="mail", profile="nobody")).keys()
    with pytest.raises(BadConfiguration, match="nobody"):
        Credentials(Place("s3", bucket="mail", profile="nobody")).region()


def test_half_of_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "GKme")
    with pytest.raises(BadConfiguration, match="AWS_SECRET_ACCESS_KEY"):
        Credentials(Place("s3", bucket="mail")).keys()


def test_a_metadata_service_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/keys")
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    with pytest.raises(Unavailable) as unavailable:
        Credentials(Place("s3", bucket="mail")).keys()
    assert "credentials" in unavailable.value.hint
