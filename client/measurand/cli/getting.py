"""`get`: files, folders and arrays out of a dataset."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from measurand.cli.array_output import FORMS, get_arrays
from measurand.cli.output import counted, facts_of_file, print_json
from measurand.cli.places import PLACE, Place
from measurand.cli.progress import bar
from measurand.cli.session import Session, common, pass_session
from measurand.cli.status import Failure

__all__ = ["get"]


@click.command(short_help="Fetch files or arrays of a dataset, verified.")
@click.argument("place", metavar="CATALOG/DATASET[/files/PATH | /arrays/NAME]", type=PLACE)
@click.option("-o", "--output", metavar="DEST", type=click.Path(allow_dash=True, path_type=Path),
              help="Where to; - is standard output [a name like the source's, here].")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Of a folder: also write over files that have other bytes.")
@common
@pass_session
def get(session: Session, place: Place, output: Path | None, *, overwrite: bool) -> None:
    """Fetch all files of a dataset, a folder (PATH ends in /) or one file, and verify them; or arrays.

    Of files, what is there already with the same size and time is left out; after a cut, run it again. Files that are
    there with other bytes are kept and named, unless --overwrite is given.

    An array is written as .npy, .csv, .npz or .zarr, as DEST is called; many, such as all those of a dataset, as .zarr,
    .npz or .csv. DEST appears whole, in the place of what was there.

    \b
    measurand get lab/run-17 -o out
    measurand get lab/run-17/files/trace.csv -o - | head
    measurand get lab/run-17/arrays/iq -o iq.npy
    measurand get lab/run-17 -o run-17.zarr
    """  # noqa: D301  # click reads the \b
    if not place.dataset:
        raise click.UsageError(f"{place} names no dataset; write CATALOG/DATASET")
    if place.array is not None or (place.path is None and output is not None and output.suffix.lower() in FORMS):
        get_arrays(session, place, output)
        return
    to_stdout = output is not None and str(output) == "-"
    if place.path is None or place.is_folder:
        if to_stdout:
            raise click.UsageError("only one file can go to standard output")
        get_folder(session, place, output or Path(folder_name(place)), overwrite=overwrite)
    elif to_stdout:
        write_out(session, place, place.path)
    else:
        get_file(session, place, place.path, output)


def folder_name(place: Place) -> str:
    return (place.path or "").strip("/").rpartition("/")[2] or place.dataset


def get_folder(session: Session, place: Place, target: Path, *, overwrite: bool) -> None:
    with session.connect() as client:
        dataset = client.catalog(place.catalog).get(place.dataset)
        with bar(session, str(place)) as progress:
            result = dataset.download_dir(
                target, place.path or "", overwrite=overwrite, missing="report", progress=progress
            )
        arrays = dataset.arrays() if place.path is None else []
    if session.as_json:
        files = [facts_of_file(file) for file in result.files]
        skipped, failed = list(result.skipped), dict(result.failed)
        print_json({"to": str(target), "files": files, "skipped": skipped, "failed": failed})
    if result.failed:
        path, text = next(iter(result.failed.items()))
        raise Failure(f"{counted(len(result.failed))} not fetched, such as {path}: {text}")
    there = f", {len(result.skipped)} were there already" if result.skipped else ""
    say(session, f"{target}  {counted(len(result.files))}, {size_text(result.size)}{there}")
    if arrays:
        session.remark(
            f"{counted(len(arrays), 'array')} besides; fetch with `measurand get {place} -o {place.dataset}.zarr`"
        )


def get_file(session: Session, place: Place, path: str, output: Path | None) -> None:
    with session.connect() as client:
        dataset = client.catalog(place.catalog).get(place.dataset)
        with bar(session, path.rpartition("/")[2]) as progress:
            target = dataset.download(path, output, progress=progress)
        file = dataset.stat(path)
    if session.as_json:
        print_json({"to": str(target), "files": [facts_of_file(file)], "skipped": [], "failed": {}})
    say(session, f"{target}  {size_text(file.size)}")


def write_out(session: Session, place: Place, path: str) -> None:
    """Write a file to standard output as it comes; every chunk is verified before it is written."""
    with session.connect() as client:
        dataset = client.catalog(place.catalog).get(place.dataset)
        with dataset.open(path, "rb") as source:
            while block := source.read(1 << 20):
                sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


def say(session: Session, text: str) -> None:
    if not session.as_json and not session.is_quiet:
        click.echo(text)


def size_text(size: int) -> str:
    from measurand.client.display import bytes_text

    return bytes_text(size)
