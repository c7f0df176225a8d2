"""`put`: files and folders into a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from measurand.cli.output import counted, facts_of_dataset, facts_of_file, print_json
from measurand.cli.pairs import document_of, merged, read_file
from measurand.cli.places import PLACE, Place
from measurand.cli.progress import bar
from measurand.cli.session import Session, common, pass_session
from measurand.cli.status import Failure, failure_of
from measurand.cli.unfinished import Unfinished
from measurand.wire.errors import AlreadyExists, NotFound

if TYPE_CHECKING:
    from measurand.client import Catalog, Client, Dataset, File

__all__ = ["put"]


@dataclass(frozen=True, slots=True)
class About:
    """What the options say of the dataset."""

    title: str
    metadata: dict[str, Any]
    kind: str
    tags: tuple[str, ...]


@click.command()
@click.argument("paths", metavar="PATH…", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
@click.argument("place", metavar="CATALOG[/DATASET]", type=PLACE)
@click.option("--title", help="The title of a new dataset [the name of the first PATH].")
@click.option("--kind", default="", help="The kind of a new dataset, such as run.")
@click.option("--meta", "pairs", metavar="KEY=VALUE", multiple=True, help="A metadata key; VALUE is JSON or text.")
@click.option("--meta-file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Metadata from a file of JSON; --meta goes over it.")  # fmt: skip
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag; repeat it for more.")
@click.option("--create", is_flag=True, help="Make the catalog and the dataset that are named, if need be.")
@click.option("--new", is_flag=True, help="Make a new dataset even if an earlier put was cut off.")
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
    *,
    create: bool,
    new: bool,
) -> None:
    """Store files and folders in a dataset.

    With a catalog alone a new dataset is made. The files of a folder keep their paths below it. After a cut, or after
    this command was killed, run it again: it goes on where it was, and leaves out what is stored already.
    CATALOG/DATASET/files/FOLDER/ puts everything below that folder of the dataset.

    \b
    measurand put trace.csv out/ lab --title "qubit T1" --meta temperature=0.012 --tag t1
    """  # noqa: D301  # click reads the \b
    metadata = merged(read_file(meta_file) if meta_file else {}, document_of(pairs))
    about = About(title if title is not None else paths[0].absolute().name, metadata, kind, tags)
    if place.path and not place.path.endswith("/"):
        raise click.UsageError(f"{place} names a file; end it in / to put everything below a folder")
    if not place.dataset and place.path is not None:
        raise click.UsageError(f"{place} names no dataset")
    with session.connect() as client:
        catalog = open_catalog(client, place, create=create)
        if place.dataset:
            dataset = open_dataset(catalog, place, about, create=create, has_title=title is not None)
            done = None
        else:
            dataset, done = new_dataset(session, catalog, paths, about, new=new)
        session.remark(f"{place.catalog}/{dataset.id}")
        files, skipped, failed = send_all(session, dataset, paths, place.path or "")
        if session.as_json:
            dataset.refresh()
            stored = [facts_of_file(file) for file in files]
            print_json({"dataset": facts_of_dataset(dataset), "files": stored, "skipped": skipped, "failed": failed})
        elif session.is_quiet:
            click.echo(f"{place.catalog}/{dataset.id}")
        if failed:
            path, text = next(iter(failed.items()))
            raise Failure(f"{counted(len(failed))} not stored, such as {path}: {text}; run the command again")
        if done is not None:
            done.remove()
    if not session.as_json and not session.is_quiet:
        from measurand.client.display import bytes_text

        size = bytes_text(sum(file.size for file in files))
        there = f", {len(skipped)} were there already" if skipped else ""
        click.echo(f"{place.catalog}/{dataset.id}  {counted(len(files))}, {size}{there}")


def open_catalog(client: Client, place: Place, *, create: bool) -> Catalog:
    if create:
        return client.create_catalog(place.catalog, exist_ok=True)
    try:
        return client.catalog(place.catalog)
    except NotFound as error:
        raise failure_of(error, f"make it with `measurand catalog create {place.catalog}`, or add --create") from error


def open_dataset(catalog: Catalog, place: Place, about: About, *, create: bool, has_title: bool) -> Dataset:
    """Return the dataset that was named, with what the options say of it."""
    try:
        dataset = catalog.get(place.dataset)
    except NotFound as error:
        if error.reason == "RESOURCE_DELETED" or not create:
            raise
        return make(catalog, place.dataset, about)
    title = about.title if has_title and about.title != dataset.title else None
    kind = about.kind if about.kind not in ("", dataset.kind) else None
    tags = sorted(set(about.tags) - set(dataset.tags))
    if about.metadata or title is not None or kind is not None or tags:
        dataset.update(about.metadata, title=title, kind=kind, add_tags=tags, if_match=None)
    return dataset


def new_dataset(
    session: Session, catalog: Catalog, paths: Sequence[Path], about: About, *, new: bool
) -> tuple[Dataset, Unfinished]:
    """Return a dataset for these sources: that of an earlier run that was cut off, or a new one."""
    from measurand.client.address import find_address
    from measurand.client.names import Ulids

    note = Unfinished.of(str(find_address(session.url)), catalog.id, about.title, paths)
    begun = "" if new else note.read()
    if begun:
        try:
            dataset = catalog.get(begun)
        except NotFound:
            begun = ""
        else:
            session.remark(f"going on with {catalog.id}/{begun}, which was cut off; --new makes another")
            return dataset, note
    name = Ulids().make()
    note.write(name)  # first the note: a run that is killed right after making the dataset finds it again
    return make(catalog, name, about), note


def make(catalog: Catalog, name: str, about: About) -> Dataset:
    try:
        return catalog.create(about.title, about.metadata, kind=about.kind, tags=about.tags, id=name)
    except AlreadyExists:  # another run made it in the meantime
        return catalog.get(name)


def send_all(
    session: Session, dataset: Dataset, paths: Sequence[Path], prefix: str
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
                result = dataset.upload_dir(path, below, errors="report", progress=progress)
                files += result.files
                skipped += result.skipped
                failed.update((name, error.message) for name, error in result.failed.items())
            elif is_stored(dataset, path, f"{prefix}{path.name}"):
                skipped.append(f"{prefix}{path.name}")
            else:
                files.append(dataset.upload(path, f"{prefix}{path.name}", progress=progress))
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
