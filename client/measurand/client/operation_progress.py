"""How far an operation is: a bar in the terminal, or a callable of one's own."""

from __future__ import annotations

from typing import Any

from measurand.client.operation_facts import OperationProgress
from measurand.client.progress import Progress

__all__ = ["Shown"]


class Shown:
    """Shows what an operation says of itself; used as a context.

    Parameters
    ----------
    progress : bool or callable
        As the caller said.
    label : str
        What stands beside the bar until the operation says what it is doing.
    """

    def __init__(self, progress: Progress, label: str) -> None:
        self._tell = progress if callable(progress) else None
        self._wants_bar = progress is True
        self._label = label
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Shown:
        if self._wants_bar:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
            )
            self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True))
            self._task = self._bar.add_task(self._label, total=None, unit="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, said: OperationProgress) -> None:
        """Show how far it is."""
        total = said.total or None
        if self._bar is not None:
            description = said.message or self._label
            self._bar.update(self._task, completed=said.done, total=total, unit=said.unit, description=description)
        if self._tell is not None:
            self._tell(said.done, total)
