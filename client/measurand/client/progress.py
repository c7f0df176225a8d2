"""How far a transfer is: a bar in the terminal, or a callable of one's own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Meter", "Progress"]

Progress = bool | Callable[[int, int | None], None]
"""True: a bar; a callable gets (bytes done, bytes in all or None if unknown); False: nothing."""


class Meter:
    """Adds up what several parts of a transfer have done; used as a context.

    Parameters
    ----------
    progress : bool or callable
        As the caller said.
    label : str
        What stands beside the bar.
    total : int, optional
        Bytes in all. None: unknown.
    """

    def __init__(self, progress: Progress, label: str, total: int | None) -> None:
        self._tell = progress if callable(progress) else None
        self._wants_bar = progress is True
        self._label = label
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Meter:
        if self._wants_bar:
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Bar(*columns, TimeRemainingColumn())
            self._task = self._bar.add_task(self._label, total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, size: int) -> None:
        """Note that so many bytes more are done."""
        with self._lock:
            self._done += size
            if self._bar is not None:
                self._bar.update(self._task, completed=self._done)
            if self._tell is not None:
                self._tell(self._done, self._total)
