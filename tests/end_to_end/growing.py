"""How far the memory of processes grows while something is done."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

__all__ = ["Growth"]

PAUSE_SECONDS = 0.01


def own_bytes(process: psutil.Process) -> int:
    """Return the resident bytes that are the process's own: pages of mapped files go when others need the room."""
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


class Growth:
    """Looks at processes for the time of a block; afterwards `most` says how far each has grown, in bytes.

    Parameters
    ----------
    pids : int
        The processes.
    """

    def __init__(self, *pids: int) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]
        self._end = threading.Event()
        self.most = [0] * len(pids)

    def __enter__(self) -> Growth:
        before = [own_bytes(process) for process in self._processes]

        def look() -> None:
            while not self._end.wait(PAUSE_SECONDS):
                now = [own_bytes(process) - start for process, start in zip(self._processes, before, strict=True)]
                self.most = [max(pair) for pair in zip(self.most, now, strict=True)]

        self._thread = threading.Thread(target=look, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
