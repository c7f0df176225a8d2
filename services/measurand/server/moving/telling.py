"""What commands that move data say: how far they are, what was damaged, how large things are."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import click

from measurand.core.arrays.blocks import BLOCKS
from measurand.core.moving.damages import Damage
from measurand.core.moving.tally import Tally

__all__ = ["size_text", "tell_damages", "telling"]

MOST_TOLD = 100
SECONDS = 0.5


@asynccontextmanager
async def telling(tally: Tally) -> AsyncIterator[None]:
    """Show on a terminal how far the work of the block is."""
    if not sys.stderr.isatty():
        yield
        return
    task = asyncio.create_task(_show(tally), name="progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        click.echo("\r\033[K", nl=False, err=True)


async def _show(tally: Tally) -> None:
    while True:
        text = (
            f"{tally.documents:,} documents, {tally.blobs:,} blobs; "
            f"copied {tally.copied:,} ({size_text(tally.copied_bytes)}) …"
        )
        click.echo(f"\r\033[K{text}", nl=False, err=True)
        await asyncio.sleep(SECONDS)


def size_text(size: int) -> str:
    """Return a size as people read it."""
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


def tell_damages(damages: Sequence[Damage]) -> None:
    """Name the files and chunks whose bytes are not what they were."""
    for damage in damages[:MOST_TOLD]:
        name, _, generation = damage.key.partition("\0")
        which = f"{name} (an older generation): " if generation else f"{name}: "
        if damage.collection == BLOCKS:  # the key of an index document tells nobody anything
            which = ""
        click.echo(f"damaged: {which}{damage.what}", err=True)
    if len(damages) > MOST_TOLD:
        click.echo(f"damaged: {len(damages) - MOST_TOLD:,} more", err=True)
