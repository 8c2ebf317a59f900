"""Garage, the real thing, in processes of its own: one node, or three on three addresses of this machine."""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest
import trio

from aerogramme.store.retry import Passing, persist
from tests.helpers.ports import free_ports

BUILT = Path("~/.cache/aerogramme/garage-2.3.0/bin/garage").expanduser()
BUCKET = "mail"
PATIENCE = 120.0  # seconds until it does what it was asked; it takes one or two
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxies the machine has


def program() -> str | None:
    """The garage to run, if there is one: $GARAGE, the one that .ci/build-garage made, or that in PATH."""
    return os.environ.get("GARAGE") or (str(BUILT) if BUILT.exists() else shutil.which("garage"))


class Node:
    """One node. It is there again with all its data after `kill` and `start`."""

    def __init__(self, garage: str, folder: Path, host: str, *, copies: int, secret: str) -> None:
        folder.mkdir(mode=0o700)
        self._command = [garage, "-c", str(folder / "garage.toml"), "server"]
        self._output = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None
        self.peers: list[str] = []  # the other nodes of its cluster
        self._token = secrets.token_hex(16)
        rpc, s3, k2v, admin = free_ports(4, host)
        self.rpc, self.s3, self.k2v = f"{host}:{rpc}", f"{host}:{s3}", f"{host}:{k2v}"
        self._admin = f"http://{host}:{admin}"
        (folder / "garage.toml").write_text(f"""
metadata_dir = "{folder}/meta"
data_dir = "{folder}/data"
db_engine = "sqlite"
replication_factor = {copies}
consistency_mode = "consistent"
rpc_secret = "{secret}"
rpc_timeout_msec = 4000
rpc_bind_addr = "{self.rpc}"
rpc_public_addr = "{self.rpc}"
[s3_api]
s3_region = "garage"
api_bind_addr = "{self.s3}"
[k2v_api]
api_bind_addr = "{self.k2v}"
[admin]
api_bind_addr = "{host}:{admin}"
admin_token = "{self._token}"
""")
        (folder / "garage.toml").chmod(0o600)

    def start(self) -> None:
        """Returns once it answers."""
        environment = {**os.environ, "RUST_LOG": "garage=info"}
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, env=environment)
        self.until(lambda: self.ask("GetClusterStatus"))

    def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and answers nothing for the time of the block; then it goes on."""
        assert self._process is not None
        self._process.send_signal(SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(SIGCONT)

    def ask(self, operation: str, body: object = None, query: str = "") -> Any:
        """What the admin API answers. `Passing` while it does not, or has a fault."""
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"garage has ended: {self._output.read_text()[-2000:]}")
        request = urllib.request.Request(
            f"{self._admin}/v2/{operation}{query}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}"},
        )
        try:
            with OPENER.open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Passing(f"{operation}: {error.code} {error.read().decode()}") from None
        except OSError as error:
            raise Passing(f"{operation}: {error}") from None

    def until(self, done: Callable[[], Any]) -> Any:
        """What `done` returns, asked again while it raises `Passing`. To be called in a thread."""
        return trio.run(persist, partial(trio.to_thread.run_sync, done), PATIENCE)

    def wait_for_all(self, nodes: int) -> None:
        """Until it has connections to all nodes of the cluster."""

        def connected() -> None:
            health = self.ask("GetClusterHealth")
            if (health["status"], health["storageNodesUp"]) != ("healthy", nodes):
                raise Passing(f"{health}")

        self.until(connected)


class Garage:
    """A cluster, with a key and a bucket. `environment`: what clients need besides the address."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.environment = {
            "AWS_ACCESS_KEY_ID": f"GK{secrets.token_hex(12)}",
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(32),
        }

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        ids = [node.ask("GetNodeInfo", query="?node=self")["success"].popitem()[0] for node in self.nodes]
        for node in self.nodes:
            node.peers = [f"{i}@{n.rpc}" for i, n in zip(ids, self.nodes, strict=True) if n is not node]
            if node.peers:
                node.until(partial(_connect, node))
        first = self.nodes[0]
        roles = [{"id": each, "zone": f"z{n}", "capacity": 1 << 30, "tags": []} for n, each in enumerate(ids)]
        first.ask("UpdateClusterLayout", {"roles": roles})
        first.ask("ApplyClusterLayout", {"version": 1})
        for node in self.nodes:
            node.wait_for_all(len(self.nodes))
        key, secret = self.environment.values()
        first.until(
            lambda: first.ask("ImportKey", {"accessKeyId": key, "secretAccessKey": secret, "name": "t"})
        )
        bucket = first.ask("CreateBucket", {"globalAlias": BUCKET})["id"]
        rights = {"read": True, "write": True, "owner": True}
        first.ask("AllowBucketKey", {"bucketId": bucket, "accessKeyId": key, "permissions": rights})

    def key(self, *, read: bool, write: bool) -> dict[str, str]:
        """The environment with another key, which may do so much in the bucket and is not its owner."""
        key, secret = f"GK{secrets.token_hex(12)}", secrets.token_hex(32)
        first = self.nodes[0]
        first.ask("ImportKey", {"accessKeyId": key, "secretAccessKey": secret, "name": key})
        bucket = first.ask("GetBucketInfo", query=f"?globalAlias={BUCKET}")["id"]
        rights = {"read": read, "write": write, "owner": False}
        first.ask("AllowBucketKey", {"bucketId": bucket, "accessKeyId": key, "permissions": rights})
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def revive(self, *dead: Node) -> None:
        """Start these, which are all that are down. Returns once each node is connected to each."""
        for node in dead:
            node.start()
        for node in self.nodes:  # by themselves they wait for half a minute before they try again
            node.until(partial(_connect, node))
            node.wait_for_all(len(self.nodes))

    def store(self, prefix: str = "", node: int = 0) -> str:
        """A place, as `--store` takes it, by way of one of the nodes."""
        at = self.nodes[node]
        return f"garage:http://{at.s3}/{BUCKET}/{prefix}?k2v=http://{at.k2v}"


@contextmanager
def garage(copies: int = 1) -> Iterator[Garage]:
    """Runs as many nodes as there are to be copies of everything, in a folder that goes with them."""
    found = program()
    if found is None:
        pytest.skip("there is no garage: make test-garage builds it")
    with tempfile.TemporaryDirectory(prefix="garage-") as name, ExitStack() as stack:
        secret = secrets.token_hex(32)
        hosts = [f"127.0.0.{n}" for n in range(1, copies + 1)]
        nodes = [Node(found, Path(name) / host, host, copies=copies, secret=secret) for host in hosts]
        for node in nodes:
            stack.callback(node.kill)
        cluster = Garage(nodes)
        cluster.start()
        yield cluster


def _connect(node: Node) -> None:
    for answer in node.ask("ConnectClusterNodes", node.peers):
        if not answer["success"]:
            raise Passing(answer["error"])
