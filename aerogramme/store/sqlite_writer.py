"""The one thread that writes to a file: what waits together is committed together, with one fsync."""

import sqlite3
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

import outcome
import trio

from aerogramme.errors import Behind

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

# How many calls share a transaction at most: enough that the fsync no longer counts, few enough that the
# first does not wait long for the last (about 50 µs each).
GROUP_MAX = 256


class _Job(Generic[T]):
    """Work for the writer. `task` waits for it: None when nobody does (any more)."""

    __slots__ = ("result", "task", "work")

    def __init__(self, work: Work[T], task: trio.lowlevel.Task | None) -> None:
        self.work, self.task = work, task
        self.result: outcome.Outcome[T]


class Writer:
    """Runs work in transactions on a connection that is its alone, until it is closed.

    A hop to this thread and back takes 80 µs, through trio's own threads 120 µs (measured), and trio's would
    need a lock besides.
    """

    def __init__(self, connection: sqlite3.Connection, written: Callable[[], object]) -> None:
        """`written` is called, in trio's thread, after each transaction that was committed."""
        self._connection, self._written = connection, written
        self._token = trio.lowlevel.current_trio_token()
        self._queue = SimpleQueue[_Job[Any] | None]()
        # A daemon: if the program dies, what was not committed was not acknowledged either.
        self._thread = threading.Thread(target=self._run, name="sqlite writer", daemon=True)
        self._thread.start()

    async def run(self, work: Work[T]) -> T:
        """The result of the work once it is durable. If the caller is cancelled, the work is done all the
        same.

        The work changes nothing when it raises `Behind`; with any other error all it did is undone. It may
        run twice: if another in the same transaction fails, all are undone, and run again one by one.
        """
        job = _Job(work, trio.lowlevel.current_task())

        def abort(_: object) -> trio.lowlevel.Abort:
            job.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.checkpoint_if_cancelled()
        self._queue.put(job)
        return cast("T", await trio.lowlevel.wait_task_rescheduled(abort))

    def post(self, work: Work[object]) -> None:
        """Do the work some time; nobody waits for it."""
        self._queue.put(_Job(work, None))

    async def aclose(self) -> None:
        """Finish what was asked for and end the thread. The connection stays open."""
        self._queue.put(None)
        await trio.to_thread.run_sync(self._thread.join)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            group = [job]
            last = False
            while len(group) < GROUP_MAX and not last:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    last = True
                else:
                    group.append(more)
            self._commit(group)
            try:
                self._token.run_sync_soon(self._deliver, group)
            except trio.RunFinishedError:
                return  # the program ended without closing the store: nobody waits for an answer
            if last:
                return

    def _commit(self, group: list[_Job[Any]]) -> None:
        """Give every job its result: all in one transaction; if one of them fails in it, each in its own."""
        done = outcome.capture(self._transaction, group)
        if isinstance(done, outcome.Value):
            return
        if len(group) > 1 and not isinstance(done.error, sqlite3.OperationalError):
            for job in group:
                self._commit([job])
        else:
            for job in group:  # alone, or it is the file that is locked, full or gone: that meets them all
                job.result = done

    def _transaction(self, group: list[_Job[Any]]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in group:
                try:
                    job.result = outcome.Value(job.work(connection))
                except Behind as behind:
                    job.result = outcome.Error(behind)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _deliver(self, group: list[_Job[Any]]) -> None:
        for job in group:
            if job.task is not None:
                trio.lowlevel.reschedule(job.task, job.result)
        self._written()
