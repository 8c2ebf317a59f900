"""`aerogramme store check` on real stores: what it says of one that is fit, and of each way to be unfit."""

import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from aerogramme.store.check_requests import Requests
from aerogramme.store.place import Place
from tests.helpers.fake_s3 import fake_s3
from tests.helpers.garage import Garage
from tests.helpers.seaweed import BUCKET, READER, SECRET, Seaweed
from tests.helpers.server import PROGRAM, aerogramme


def check(*options: str) -> tuple[int, list[str]]:
    """The exit code, and the lines. What is told once is told on standard output."""
    done = aerogramme("store", "check", *options, check=False)
    assert done.stderr == b"" and SECRET.encode() not in done.stdout
    return done.returncode, done.stdout.decode().splitlines()


def failed(*options: str) -> tuple[int, str]:
    """The exit code, and the step that failed with what to do about it."""
    code, lines = check(*options)
    (at,) = [n for n, line in enumerate(lines) if line.startswith("✗ ")]
    assert all(line.startswith(("✓ ", "! ", "    ")) for line in lines[:at])
    after = [line for line in lines[at + 1 :] if not line.startswith("    ")]
    assert all(line.startswith("· ") for line in after), "later steps are not tried"
    return code, "\n".join(line for line in lines[at:] if line not in after)


def names(weed: Seaweed, place: str) -> list[str]:
    """The objects below a place."""
    client = boto3.client("s3", endpoint_url=weed.endpoint, region_name="us-east-1")
    _, bucket, prefix = urlsplit(place.removeprefix("s3:")).path.split("/", 2)
    try:
        found = client.list_objects_v2(Bucket=bucket, Prefix=prefix)
    finally:
        client.close()
    return [each["Key"] for each in found.get("Contents", ())]


def test_a_data_folder(tmp_path: Path) -> None:
    code, text = failed("--data", str(tmp_path / "data"))
    assert code == 78 and "✗ the folder is there" in text and "--create" in text
    code, lines = check("--data", str(tmp_path / "data"), "--create")
    assert code == 0 and len(lines) == 7 and all(line.startswith("✓ ") for line in lines)
    config = tmp_path / "aerogramme.toml"
    config.write_text('data = "data"\n')
    assert check("--config", str(config))[0] == 0
    assert list((tmp_path / "data" / "accounts").iterdir()) == []


def test_what_is_to_be_checked_must_be_said() -> None:
    done = aerogramme("store", "check", check=False)
    assert done.returncode == 78 and b"--data" in done.stderr
    assert failed("--store", "ftp:x")[0] == 78


def test_an_s3_that_is_fit(s3: str, weed: Seaweed) -> None:
    code, lines = check("--store", s3)
    assert code == 0 and len(lines) == 11, lines
    assert all(line.startswith("✓ ") for line in lines)
    assert re.search(r"SeaweedFS", lines[1])
    assert lines[3] == "✓ there are credentials: from the environment, AWS_ACCESS_KEY_ID"
    assert names(weed, s3) == []


def test_what_is_wrong_with_a_key(s3: str, weed: Seaweed, aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    code, text = failed("--store", s3)
    assert code == 77 and "the secret key is not that of this access key" in text
    aws.setenv("AWS_ACCESS_KEY_ID", "nobody")
    code, text = failed("--store", s3)
    assert code == 77 and "does not know this access key" in text
    aws.setenv("AWS_ACCESS_KEY_ID", READER[0])
    aws.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
    code, text = failed("--store", s3)
    assert code == 77 and text.startswith("✗ an object is written: this key may not write an object")
    assert "s3:PutObject" in text
    elsewhere = s3.replace(f"/{BUCKET}/", "/of-the-reader/")
    code, text = failed("--store", elsewhere, "--create")
    assert code == 77 and "this key may not create the bucket" in text
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    code, text = failed("--store", s3)
    assert code == 78 and "✗ there are credentials" in text and "~/.aws/credentials" in text
    for name, value in weed.environment.items():
        aws.setenv(name, value)
    assert names(weed, s3) == []


def test_a_bucket_that_is_missing(s3: str) -> None:
    other = s3.replace(f"/{BUCKET}/", "/another-one/")
    code, text = failed("--store", other)
    assert code == 78 and "there is no bucket another-one" in text and "--create" in text
    code, lines = check("--store", other, "--create")
    assert code == 0 and "✓ the bucket is there: another-one, made just now" in lines
    code, lines = check("--store", other, "--create")
    assert code == 0 and "✓ the bucket is there: another-one" in lines


def test_a_server_that_is_gone(s3: str) -> None:
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        gone = re.sub(r":\d+/", f":{closed.getsockname()[1]}/", s3)
        code, text = failed("--store", gone)
    assert code == 75 and "nobody listens on" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["GET probe/[^/]+/object$", "PUT probe/[^/]+/[0-9a-f]{32}/o/"])
def test_nothing_stays_when_it_is_told_to_end(aws: pytest.MonkeyPatch, at: str, number: int) -> None:
    """While a request is on its way: one of a step, and one of the account in the end."""
    aws.setenv("AWS_ACCESS_KEY_ID", "any")
    aws.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    arrived, told = threading.Event(), threading.Event()

    def wait(method: str, name: str, _query: object) -> None:
        if re.match(at, f"{method} {name}") and not arrived.is_set():
            arrived.set()
            assert told.wait(60)

    with fake_s3() as server:
        server.wrong = wait
        process = subprocess.Popen(
            [PROGRAM, "store", "check", "--store", server.place],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert arrived.wait(60)
        process.send_signal(number)
        told.set()
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (1, b"interrupted; what was tried has been removed\n")
        assert server.objects == {}


# --- Garage


@pytest.fixture
def key(cluster: Garage, aws: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Another key in the environment, with these rights to the bucket."""
    node, made = cluster.nodes[0], []

    def of(**rights: bool) -> None:
        found = node.ask("CreateKey", {"name": "another"})
        made.append(found["accessKeyId"])
        bucket = node.ask("GetBucketInfo", query=f"?globalAlias={BUCKET}")["id"]
        permissions = {"read": False, "write": False, "owner": False, **rights}
        node.ask("AllowBucketKey", {"bucketId": bucket, "accessKeyId": made[-1], "permissions": permissions})
        aws.setenv("AWS_ACCESS_KEY_ID", made[-1])
        aws.setenv("AWS_SECRET_ACCESS_KEY", found["secretAccessKey"])

    yield of
    for each in made:
        node.ask("DeleteKey", {}, query=f"?id={each}")


def left_in(cluster: Garage) -> tuple[list[str], list[str]]:
    """Objects and partitions of rows below any probe."""
    place = Place.parse(cluster.store())
    requests = Requests(place)
    return (
        [name for name in requests.names("") if "probe/" in name],
        [name for name in requests.partitions("") if "probe/" in name],
    )


@pytest.mark.garage
def test_a_garage_that_is_fit(garage: str, cluster: Garage) -> None:
    code, lines = check("--store", garage)
    steps = [line for line in lines if not line.startswith("    ")]
    assert code == 0 and len(steps) == 17 and all(step.startswith("✓ ") for step in steps), lines
    assert "43 ms" in lines[2]
    assert left_in(cluster)[0] == []


@pytest.mark.garage
def test_a_garage_bucket_that_is_missing(garage: str, cluster: Garage) -> None:
    other = garage.replace(f"/{BUCKET}/", "/another-one/")
    code, text = failed("--store", other)
    assert code == 78 and "there is no bucket another-one" in text
    assert "garage bucket create another-one; garage bucket allow --read --write --owner another-one" in text
    code, text = failed("--store", other, "--create")
    assert code == 77 and "garage key allow --create-bucket NAME" in text
    mine = cluster.environment["AWS_ACCESS_KEY_ID"]
    cluster.nodes[0].ask("UpdateKey", {"allow": {"createBucket": True}}, query=f"?id={mine}")
    code, lines = check("--store", other, "--create")
    assert code == 0 and any("made just now" in line and "garage bucket alias" in line for line in lines)


@pytest.mark.garage
def test_garage_keys_that_may_not(garage: str, key: Callable[..., None], aws: pytest.MonkeyPatch) -> None:
    allow = f"garage bucket allow --read --write --owner {BUCKET} --key NAME"
    key(read=True)
    code, text = failed("--store", garage)
    assert code == 77 and "✗ an object is written: this key may not write an object" in text and allow in text
    key()
    code, text = failed("--store", garage)
    assert code == 77 and "this key may not list the bucket" in text and allow in text
    aws.setenv("AWS_SECRET_ACCESS_KEY", "0" * 64)
    code, text = failed("--store", garage)
    assert code == 77 and "the secret key is not that of this access key" in text
    aws.setenv("AWS_ACCESS_KEY_ID", "GK" + "0" * 24)
    code, text = failed("--store", garage)
    assert code == 77 and "garage key list" in text


@pytest.mark.garage
def test_garage_ports_and_regions_that_are_wrong(garage: str, cluster: Garage) -> None:
    node = cluster.nodes[0]
    code, text = failed("--store", garage.replace(f"k2v=http://{node.k2v}", f"k2v=http://{node.s3}"))
    assert code == 78 and f"✗ K2V answers: {node.s3} is S3, not K2V" in text and "[k2v_api]" in text
    code, text = failed("--store", garage.replace(f"garage:http://{node.s3}", f"garage:http://{node.k2v}"))
    assert code == 78 and f"{node.k2v} is K2V, not S3" in text
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        off = f"127.0.0.1:{closed.getsockname()[1]}"
        code, text = failed("--store", garage.replace(f"k2v=http://{node.k2v}", f"k2v=http://{off}"))
    assert code == 75 and f"nobody listens on {off}" in text and "turns K2V on" in text
    code, text = failed("--store", f"{garage}&region=eu")
    assert code == 78 and "the region is not eu" in text and "region=garage" in text
    assert left_in(cluster)[0] == []
