"""Figures on a Garage of one node: what is the store's, and what is ours. Markdown on standard output.

    python -m benchmarks.garage       run where the repository is; what imapbench.py says goes to standard error

Needs the corpus (make corpus) and Garage (make test-garage builds it). The store, two servers and the client
share the machine.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import obstore
import trio
from obstore.store import S3Store

from aerogramme.config import Config
from aerogramme.seal import Secret
from aerogramme.store.credentials import Credentials
from aerogramme.store.k2v import K2V, New, Range
from aerogramme.store.place import Place
from aerogramme_cli import common
from benchmarks import imapbench
from tests.helpers.corpus import corpus, deliver_all
from tests.helpers.garage import BUCKET, Garage, garage
from tests.helpers.server import ADDRESS, PASSWORD, Server, create_account, serving

MESSAGES = 1000
TIMES = 200
# In this order: a read lists the rows of the last ten minutes (store/tail.py), so what makes many comes late.
READS = "login-select,select-big,fetch-flags,fetch-env,fetch-hdr,search,noop"
CHANGES = "store,copy,move,expunge,append"


def spread(times: list[float]) -> str:
    return f"{statistics.median(times) * 1e3:.1f} ms / {sorted(times)[int(0.95 * len(times))] * 1e3:.1f} ms"


def timed(work: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def objects(cluster: Garage) -> None:
    """Objects over S3: connections kept, and one for each request."""
    node, (key, secret) = cluster.nodes[0], cluster.environment.values()
    kept, new = (
        S3Store(
            BUCKET,
            endpoint=f"http://{node.s3}",
            region="garage",
            access_key_id=key,
            secret_access_key=secret,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True} | options,
        )
        for options in ({}, {"pool_max_idle_per_host": "0"})
    )
    print("| Garage alone | connection kept | new connection |")
    print("|---|---|---|")
    for size in (1_000, 10_000, 100_000):
        body, name = os.urandom(size), f"raw/{size}"
        puts = [
            spread(timed(partial(obstore.put, way, name, body, use_multipart=False))) for way in (kept, new)
        ]
        gets = [spread(timed(lambda way=way: obstore.get(way, name).bytes())) for way in (kept, new)]
        print(f"| PUT of {size // 1000} kB | {puts[0]} | {puts[1]} |")
        print(f"| GET of {size // 1000} kB | {gets[0]} | {gets[1]} |")


async def rows(cluster: Garage) -> None:
    """Rows over K2V, as the store asks for them."""
    place = Place.parse(cluster.store("raw"))
    k2v = K2V(place, Credentials(place))
    numbers = iter(range(1_000_000))

    async def insert(count: int) -> None:
        items = [
            New("raw/p", f"{kind}{next(numbers):016x}", os.urandom(500))
            for _ in range(count)
            for kind in "vx"
        ]
        await k2v.insert(items)

    async def look() -> None:
        await k2v.search([Range("raw/p", "x~", "y")])

    async def times(work: Callable[[], Awaitable[None]], count: int) -> str:
        found = []
        for _ in range(count):
            began = time.perf_counter()
            await work()
            found.append(time.perf_counter() - began)
        return spread(found)

    print(f"| InsertBatch of one row (two items) | {await times(partial(insert, 1), TIMES)} | |")
    print(f"| InsertBatch of 100 rows | {await times(partial(insert, 100), 20)} | |")
    print(f"| ReadBatch that finds nothing new | {await times(look, TIMES)} | |")
    await k2v.aclose()


def bench(server: Server, label: str, workloads: str, *options: str) -> dict[str, dict]:
    """What imapbench.py says: workload → figures."""
    command = [sys.executable, imapbench.__file__, "--imap", f"127.0.0.1:{server.imap_port}"]
    command += ["--lmtp", f"127.0.0.1:{server.lmtp_port}", "--user", ADDRESS, "--password", PASSWORD]
    command += ["--corpus", "corpus", "--messages", f"{MESSAGES}", "--mailbox", "INBOX", "--keep"]
    command += ["--label", label, "--workloads", workloads, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        print(json.dumps(line), file=sys.stderr, flush=True)
    return {line["workload"]: line for line in lines}


def cold(data: Path, store: str, workload: str) -> dict[str, dict]:
    """With a server that has just started, and nothing in its cache."""
    shutil.rmtree(data / "cache-a")
    with serving(data, store=store, name="a") as a:
        found = bench(a, "a", workload)
        a.stop()
    return found


async def fold(config: Config) -> None:
    """Packs the bodies, as the server does once there is more to fold."""
    async with common.open_account(config, common.user_of(config, ADDRESS), Secret(PASSWORD)) as account:
        await account.fold(force=True)


def servers(cluster: Garage, folder: Path) -> None:
    """Two servers of one account, a client that does as little as it can."""
    data, store = folder / "data", cluster.store("bench")
    create_account(data, store=store)
    with serving(data, store=store, name="a") as a, serving(data, store=store, name="b") as b:
        deliver_all([a.lmtp_port, b.lmtp_port] * 5, corpus()[:MESSAGES])
        found = bench(a, "a", READS) | bench(a, "a", "idle-wake")
        other = bench(a, "b", "idle-wake", "--watch", f"127.0.0.1:{b.imap_port}")
        a.stop()
        b.stop()
    single = cold(data, store, "fetch-bodies")
    trio.run(fold, Config.for_data(data, store=store))
    found |= cold(data, store, "fetch-bodies") | cold(data, store, "fetch-one")
    with serving(data, store=store, name="a") as a:
        found |= bench(a, "a", CHANGES)
        found |= bench(a, "a", "lmtp")
        late = bench(a, "a", "select-big")
        a.stop()
    print("\n| workload | |")
    print("|---|---|")
    for workload in imapbench.ORDER:
        if workload in found:
            print(f"| {workload} | {imapbench.cell(found[workload])} |")
        if workload in other:
            print(f"| {workload}, on the other server | {imapbench.cell(other[workload])} |")
        if workload in single:
            print(f"| {workload}, one object each | {imapbench.cell(single[workload])} |")
        if workload in late:
            print(f"| {workload}, after all of this | {imapbench.cell(late[workload])} |")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, garage() as cluster:
        os.environ.update(cluster.environment)
        objects(cluster)
        trio.run(rows, cluster)
        servers(cluster, Path(folder))


if __name__ == "__main__":
    main()
