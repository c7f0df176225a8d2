"""`put`: files, folders and arrays into a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from measurand.cli.array_putting import SUFFIXES, Opened, opened
from measurand.cli.output import counted, facts_of_array, facts_of_dataset, facts_of_file, print_json
from measurand.cli.pairs import document_of, merged, read_file
from measurand.cli.places import PLACE, Place
from measurand.cli.progress import bar
from measurand.cli.session import Session, common, pass_session
from measurand.cli.status import Failure, failure_of
from measurand.cli.unfinished import Unfinished
from measurand.wire.errors import AlreadyExists, NotFound, RequestIdReused
from measurand.wire.redundancy import FORMS

if TYPE_CHECKING:
    from measurand.client import Array, Catalog, Client, Dataset, File

__all__ = ["put"]


@dataclass(frozen=True, slots=True)
class About:
    """What the options say of the dataset."""

    title: str
    metadata: dict[str, Any]
    kind: str
    tags: tuple[str, ...]
    storage: str | None
    has_title: bool
    """The title was given, not made up."""


@click.command()
@click.argument("paths", metavar="PATH…", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
@click.argument("place", metavar="CATALOG[/DATASET]", type=PLACE)
@click.option("--title", help="The title of a new dataset [the name of the first PATH].")
@click.option("--kind", default="", help="The kind of a new dataset, such as run.")
@click.option("--meta", "pairs", metavar="KEY=VALUE", multiple=True, help="A metadata key; VALUE is JSON or text.")
@click.option("--meta-file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Metadata from a file of JSON; --meta goes over it.")  # fmt: skip
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag; repeat it for more.")
@click.option(
    "--storage", metavar="POLICY", help=f"Where a new dataset, or the new files of another, are kept: {FORMS}."
)
@click.option("--create", is_flag=True, help="Make the catalog and the dataset that are named, if need be.")
@click.option("--new", is_flag=True, help="Make a new dataset even if an earlier put was cut off.")
@click.option("--as-file", is_flag=True, help="Store .npy, .npz, .h5, .hdf5 and .zarr as the files that they are.")
@common
@pass_session
def put(
    session: Session,
    paths: tuple[Path, ...],
    place: Place,
    title: str | None,
    kind: str,
    pairs: tuple[str, ...],
    meta_file: Path | None,
    tags: tuple[str, ...],
    storage: str | None,
    *,
    create: bool,
    new: bool,
    as_file: bool,
) -> None:
    """Store files and folders in a dataset, and .npy, .npz, .h5, .hdf5 and .zarr as the arrays that they hold.

    With a catalog alone a new dataset is made. The files of a folder keep their paths below it. After a cut, or after
    this command was killed, run it again: it goes on where it was, and leaves out what is stored already.
    CATALOG/DATASET/files/FOLDER/ puts everything below that folder of the dataset, arrays too as files.

    Groups of arrays become parts of their names, and what a file says of itself becomes metadata; --meta goes over it.
    A new dataset appears when all of its arrays are stored.

    \b
    measurand put trace.csv out/ lab --title "qubit T1" --meta temperature=0.012 --tag t1
    measurand put sweep.h5 lab/run-17 --create
    """  # noqa: D301  # click reads the \b
    metadata = merged(read_file(meta_file) if meta_file else {}, document_of(pairs))
    made_up = paths[0].absolute().name
    about = About(made_up if title is None else title, metadata, kind, tags, storage, title is not None)
    if place.array is not None:
        raise click.UsageError(f"{place} names an array; give CATALOG/DATASET, arrays have the names that files give")
    if place.path and not place.path.endswith("/"):
        raise click.UsageError(f"{place} names a file; end it in / to put everything below a folder")
    if not place.dataset and place.path is not None:
        raise click.UsageError(f"{place} names no dataset")
    as_arrays = [path for path in paths if is_of_arrays(path) and not as_file and place.path is None]
    with ExitStack() as stack:
        found = stack.enter_context(opened(as_arrays)) if as_arrays else None
        client = stack.enter_context(session.connect())
        catalog = open_catalog(client, place, create=create)
        arrays: list[Array] = []
        done = None
        if place.dataset:
            dataset, arrays = open_dataset(session, catalog, place, about, found, create=create)
        else:
            dataset, done = new_dataset(session, catalog, paths, about, found, new=new)
        if found is not None and not arrays:
            arrays = [dataset.array(array.name) for array in found.arrays]
        session.remark(f"{place.catalog}/{dataset.id}")
        plain = [path for path in paths if path not in as_arrays]
        files, skipped, failed = send_all(session, dataset, plain, place.path or "", storage)
        if session.as_json:
            dataset.refresh()
            stored = {"files": [facts_of_file(file) for file in files], "skipped": skipped, "failed": failed}
            shown = [facts_of_array(array) for array in arrays]
            print_json({"dataset": facts_of_dataset(dataset), **stored, "arrays": shown})
        elif session.is_quiet:
            click.echo(f"{place.catalog}/{dataset.id}")
        if failed:
            path, text = next(iter(failed.items()))
            raise Failure(f"{counted(len(failed))} not stored, such as {path}: {text}; run the command again")
        if done is not None:
            done.remove()
    if not session.as_json and not session.is_quiet:
        from measurand.client.display import bytes_text

        said = [f"{counted(len(arrays), 'array')}, {bytes_text(sum(array.nbytes for array in arrays))}"] * bool(arrays)
        if plain:
            there = f", {len(skipped)} were there already" if skipped else ""
            said.append(f"{counted(len(files))}, {bytes_text(sum(file.size for file in files))}{there}")
        click.echo(f"{place.catalog}/{dataset.id}  {'; '.join(said)}")


def is_of_arrays(path: Path) -> bool:
    """Tell whether a path is a file of arrays by its name; a Zarr store is a folder, and no other is."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES and path.is_dir() == (suffix == ".zarr")


def open_catalog(client: Client, place: Place, *, create: bool) -> Catalog:
    if create:
        return client.create_catalog(place.catalog, exist_ok=True)
    try:
        return client.catalog(place.catalog)
    except NotFound as error:
        raise failure_of(error, f"make it with `measurand catalog create {place.catalog}`, or add --create") from error


def open_dataset(
    session: Session, catalog: Catalog, place: Place, about: About, found: Opened | None, *, create: bool
) -> tuple[Dataset, list[Array]]:
    """Return the dataset that was named, with what the options say of it and with the arrays, and those."""
    try:
        dataset = catalog.get(place.dataset)
    except NotFound as error:
        if error.reason == "RESOURCE_DELETED" or not create:
            raise
        return make(session, catalog, place.dataset, about, found), []
    arrays = []
    if found is not None:
        with bar(session, "arrays") as progress:
            arrays = dataset.write_arrays(found.arrays, progress=progress)
    metadata = merged(found.metadata, about.metadata) if found is not None else about.metadata
    title = about.title if about.has_title and about.title != dataset.title else None
    kind = about.kind if about.kind not in ("", dataset.kind) else None
    tags = sorted(set(about.tags) - set(dataset.tags))
    if metadata or title is not None or kind is not None or tags:
        dataset.update(metadata, title=title, kind=kind, add_tags=tags, if_match=None)
    return dataset, arrays


def new_dataset(
    session: Session, catalog: Catalog, paths: Sequence[Path], about: About, found: Opened | None, *, new: bool
) -> tuple[Dataset, Unfinished]:
    """Return a dataset for these sources: that of an earlier run that was cut off, or a new one."""
    from measurand.client.address import find_address
    from measurand.client.names import Ulids

    note = Unfinished.of(
        str(find_address(session.url)), catalog.id, about.title, paths, unchanged=found.paths if found else ()
    )
    begun = "" if new else note.read()
    if begun:
        try:
            dataset = catalog.get(begun)
        except NotFound:
            begun = begun if found is not None else ""  # cut off before it was made
        else:
            if dataset.state != "draft":  # else its arrays were not all there yet
                session.remark(f"going on with {catalog.id}/{begun}, which was cut off; --new makes another")
                return dataset, note
    name = begun or Ulids().make()
    note.write(name)  # first the note: a run that is killed right after making the dataset finds it again
    try:
        return make(session, catalog, name, about, found, request_id=f"put-{name}" if found is not None else None), note
    except RequestIdReused:  # the options were others then
        name = Ulids().make()
        note.write(name)
        return make(session, catalog, name, about, found), note


def make(
    session: Session,
    catalog: Catalog,
    name: str,
    about: About,
    found: Opened | None,
    *,
    request_id: str | None = None,
) -> Dataset:
    """Return a new dataset, with its arrays if there are any: it appears with all of them."""
    from measurand.client import DataFile
    from measurand.client.found_arrays import Metered
    from measurand.client.progress import Meter

    given: dict[str, Any] = {"kind": about.kind, "tags": about.tags, "id": name, "storage": about.storage}
    try:
        if found is None:
            return catalog.create(about.title, about.metadata, **given)
        total = sum(array.nbytes for array in found.arrays)
        with bar(session, "arrays") as progress, Meter(progress, "arrays", total) as meter:
            whole = DataFile(
                about.title,
                merged(found.metadata, about.metadata),
                arrays={array.name: Metered(array.value, meter) for array in found.arrays},
                dims={array.name: array.dims for array in found.arrays},
                attrs={array.name: array.attributes for array in found.arrays},
                chunks={array.name: array.chunks for array in found.arrays if array.chunks},
                **given,
            )
            return catalog.save(whole, request_id=request_id)
    except AlreadyExists:  # another run made it in the meantime
        return catalog.get(name)


def send_all(
    session: Session, dataset: Dataset, paths: Sequence[Path], prefix: str, storage: str | None
) -> tuple[list[File], list[str], dict[str, str]]:
    """Send files and folders; return what was stored, what was there already and what failed."""
    files: list[File] = []
    skipped: list[str] = []
    failed: dict[str, str] = {}
    for path in paths:
        with bar(session, path.name or str(path)) as progress:
            if path.is_dir():
                # A Zarr store is one thing and keeps its name; any other folder is only where files lie.
                below = f"{prefix}{path.name}/" if path.suffix == ".zarr" else prefix
                result = dataset.upload_dir(path, below, storage=storage, errors="report", progress=progress)
                files += result.files
                skipped += result.skipped
                failed.update((name, error.message) for name, error in result.failed.items())
            elif is_stored(dataset, path, f"{prefix}{path.name}"):
                skipped.append(f"{prefix}{path.name}")
            else:
                files.append(dataset.upload(path, f"{prefix}{path.name}", storage=storage, progress=progress))
    return files, skipped, failed


def is_stored(dataset: Dataset, source: Path, path: str) -> bool:
    """Tell whether the dataset has the file already, with the same size and time."""
    from measurand.client.local import mtime_of

    try:
        stored = dataset.stat(path)
    except NotFound:
        return False
    about = source.stat()
    return (stored.size, mtime_of(stored.attributes)) == (about.st_size, about.st_mtime_ns)
