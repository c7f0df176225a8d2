"""What `ls` and `show` say of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from measurand.cli.output import facts_of_array, print_facts, print_json
from measurand.cli.session import Session

if TYPE_CHECKING:
    from measurand.client import Array, Dataset

__all__ = ["rows_of_arrays", "show_array", "stored_facts"]


def rows_of_arrays(dataset: Dataset, prefix: str = "") -> list[dict[str, Any]]:
    """Return a row for each array, to stand among those of files."""
    return [{"path": f"arrays/{array.name}", **facts_of_array(array)} for array in dataset.arrays(prefix)]


def stored_facts(array: Array) -> dict[str, Any]:
    """Return what is known of an array, with what the store has of it."""
    stored = array.stored_bytes()
    facts = facts_of_array(array)
    facts["stored"] = stored
    has_size = array.dtype.kind != "T"  # text of any length has none before it is encoded
    facts["ratio"] = round(written_bytes(array) / stored, 3) if stored and has_size else None
    return facts


def written_bytes(array: Array) -> int:
    """Return the bytes of the chunks that were written, before they were encoded."""
    chunk = int(array.dtype.itemsize)
    for length in array.chunks:
        chunk *= length
    return chunk * int(array.written.sum())


def show_array(session: Session, array: Array, plot: str | None) -> None:
    """Show what is known of an array, its first and last elements, and a picture if one is wanted.

    Parameters
    ----------
    plot : str, optional
        A file to write the picture to; empty: into the terminal.
    """
    from measurand.cli.plots import draw, write_picture
    from measurand.cli.sampling import corners

    facts = stored_facts(array)
    if session.as_json:
        print_json({**facts, "plot": plot} if plot else facts)
    else:
        print_facts(session, {**facts, "shape": str(array.shape), "chunks": str(array.chunks)})
        click.echo()
        for line in draw(array) if plot == "" else corners(array):
            click.echo(line)
    if plot:
        write_picture(array, Path(plot))
        session.remark(f"drawn to {plot}")
