"""Packing and writing finished shards beside the computation of the next one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

from dtrak_stream.store.unfinished import ComputedRows
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.timing import StageTimer


class BackgroundWrites(AbstractContextManager["BackgroundWrites"]):
    """Writes one shard at a time in a thread of its own; use it in a `with` statement.

    Parameters
    ----------
    writer
        What writes a shard.
    timer
        Told how long writing takes.
    """

    def __init__(self, writer: StoreWriter, timer: StageTimer) -> None:
        self._writer = writer
        self._timer = timer
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._writing: Future[None] | None = None
        self.finished = 0

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown(wait=True)

    def submit(self, rows: ComputedRows) -> None:
        """Hand over a computed shard; waits for the one before.

        Raises
        ------
        DiskFullError
            If the shard before could not be written.
        """
        self.wait()
        self._writing = self._pool.submit(self._write, rows)

    def wait(self) -> None:
        """Return when everything handed over is on disk; raises as `submit`."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
            self.finished += 1

    def _write(self, rows: ComputedRows) -> None:
        with self._timer.beside("write"):
            self._writer.write(rows)
