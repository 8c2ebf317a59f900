"""What a rotation costs: its own time, and what sessions notice of it.

    python -m benchmarks.rotation 10000 100000

For each number of messages: an account in one file, a server, one session that reads and changes flags, and a
sender by LMTP, first alone and then while `aerogramme key rotate` runs. Times are medians and 95th
percentiles of single commands.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from tests.helpers.large_account import letter, make_large_account
from tests.helpers.server import ADDRESS, PASSWORD, Server, aerogramme, serving

ALONE = 6.0  # seconds of commands without a rotation
Times = dict[str, list[float]]


def timed(times: Times, what: str, call: Callable[[], object]) -> None:
    began = time.perf_counter()
    call()
    times.setdefault(what, []).append(1000 * (time.perf_counter() - began))


def session(server: Server, times: Times, messages: int, over: Event) -> None:
    client, at = server.imap(), 1
    client.select()
    while not over.is_set():
        span = f"{at}:{at + 49}"
        timed(times, "FETCH of 50 bodies", lambda span=span: client.fetch(span, "(BODY.PEEK[])"))
        timed(times, "STORE on 50", lambda span=span: client.store(span, "+FLAGS.SILENT", "(\\Seen)"))
        timed(times, "SELECT", client.select)
        at = (at + 49) % (messages - 50) + 1
    client.logout()


def sender(server: Server, times: Times, over: Event) -> None:
    with server.lmtp() as peer:
        while not over.wait(0.05):
            timed(times, "LMTP delivery", lambda: peer.sendmail("a@example.org", [ADDRESS], letter(1)))


def during(server: Server, messages: int, work: Callable[[], object]) -> Times:
    """The times of commands while some work is done."""
    times: Times = {}
    over = Event()
    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(session, server, times, messages, over),
            pool.submit(sender, server, times, over),
        ]
        try:
            work()
        finally:
            over.set()
        for each in running:
            each.result()
    return times


def measure(messages: int, folder: Path) -> None:
    data = folder / f"data-{messages}"
    make_large_account(data, messages)

    def rotate() -> None:
        cpu, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = aerogramme("key", "rotate", ADDRESS, "--data", str(data), "--password-stdin", stdin=PASSWORD)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime
        print(
            f"{messages:,} messages: rotated in {time.perf_counter() - began:.1f} s, {seconds:.1f} s of CPU"
        )
        print(done.stdout.decode(), end="")

    with serving(data) as server:
        alone = during(server, messages, lambda: time.sleep(ALONE))
        rotating = during(server, messages, rotate)
    for what, times in alone.items():
        other = rotating[what]
        print(
            f"{what:20} {statistics.median(times):7.1f} ms alone, {statistics.median(other):7.1f} ms meanwhile "
            f"(x{statistics.median(other) / statistics.median(times):.2f}); 95 of 100 within "
            f"{_most(times):.1f} and {_most(other):.1f} ms"
        )


def _most(times: list[float]) -> float:
    return sorted(times)[int(0.95 * (len(times) - 1))]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for count in sys.argv[1:] or ["10000"]:
            measure(int(count), Path(folder))
