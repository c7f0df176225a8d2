"""What `get` does with arrays: they become a .npy, .npz, .csv or .zarr, streamed, whole or not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from measurand.cli.output import counted, facts_of_array, print_json
from measurand.cli.places import Place
from measurand.cli.progress import bar
from measurand.cli.session import Session
from measurand.cli.status import Failure

if TYPE_CHECKING:
    from measurand.client import Array, Dataset
    from measurand.client.progress import Progress

__all__ = ["FORMS", "get_arrays"]

FORMS = (".npy", ".npz", ".csv", ".zarr")
"""What arrays can become, as the target is called."""


def get_arrays(session: Session, place: Place, output: Path | None) -> None:
    """Fetch an array, a group of arrays or all arrays of a dataset."""
    target = target_of(place, output)
    with session.connect() as client:
        dataset = client.catalog(place.catalog).get(place.dataset)
        if place.array and not place.is_group:
            arrays = [dataset.array(place.array)]
        else:
            arrays = dataset.arrays(place.array or "")
        if not arrays:
            raise Failure(f"{place} has no arrays")
        with bar(session, target.name) as progress:
            write(dataset, arrays, target, progress)
    if session.as_json:
        print_json({"to": str(target), "arrays": [facts_of_array(array) for array in arrays]})
    elif not session.is_quiet:
        from measurand.client.display import bytes_text

        size = bytes_text(sum(array.nbytes for array in arrays))
        click.echo(f"{target}  {counted(len(arrays), 'array')}, {size}")


def target_of(place: Place, output: Path | None) -> Path:
    """Return where to write."""
    many = place.array is None or place.is_group
    name = f"{(place.array or '').strip('/').rpartition('/')[2] or place.dataset}{'.zarr' if many else '.npy'}"
    if output is None:
        return Path(name)
    if str(output) == "-":
        raise click.UsageError("arrays cannot go to standard output; give a file")
    if output.suffix.lower() not in FORMS:
        if output.is_dir():
            return output / name
        raise click.UsageError(f"{output} is none of {', '.join(FORMS)}")
    if many and output.suffix.lower() == ".npy":
        raise click.UsageError(f"a .npy holds one array; name it as {place}/arrays/NAME, or write .npz or .zarr")
    return output


def write(dataset: Dataset, arrays: Sequence[Array], target: Path, progress: Progress) -> None:
    """Write arrays in the form that the target's name says."""
    names = [array.name for array in arrays]
    match target.suffix.lower():
        case ".npy":
            dataset.to_npy(target, names[0], progress=progress)
        case ".npz":
            dataset.to_npz(target, names, progress=progress)
        case ".csv":
            dataset.to_csv(target, names, progress=progress)
        case _:
            dataset.to_zarr(target, names, progress=progress)
