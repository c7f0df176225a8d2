"""Bars for people who watch: on standard error, so that answers can be piped, and only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from measurand.cli.session import Session

if TYPE_CHECKING:
    from measurand.client.progress import Progress

__all__ = ["bar"]


@contextmanager
def bar(session: Session, label: str) -> Iterator[Progress]:
    """Yield what a transfer of the client takes as `progress`: it draws a bar as long as the context lasts."""
    if not session.shows_progress:
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as drawn:
        task = drawn.add_task(label, total=None)

        def tell(done: int, total: int | None) -> None:
            drawn.update(task, completed=done, total=total)

        told: Callable[[int, int | None], None] = tell
        yield told
