"""`ls`, `show`, `exists`, `find`, `history`: what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from measurand.cli.array_looking import rows_of_arrays, show_array, stored_facts
from measurand.cli.output import facts_of_array, facts_of_dataset, facts_of_file, print_facts, print_json, print_table
from measurand.cli.places import CATALOG, DATASET, PLACE, Place
from measurand.cli.session import Session, common, pass_session
from measurand.cli.status import NOT_FOUND
from measurand.wire.errors import NotFound

if TYPE_CHECKING:
    from measurand.client import Client

__all__ = ["exists", "find", "history", "ls", "show"]

CATALOG_COLUMNS = ("id", "title", "created")
DATASET_COLUMNS = ("id", "title", "kind", "tags", "files", "bytes", "created")
FILE_COLUMNS = ("path", "size", "created")
ARRAY_COLUMNS = ("path", "shape", "dtype", "size", "created")
PAGE = 100


@click.command(short_help="List catalogs, datasets, or files and arrays.")
@click.argument("place", type=PLACE, required=False)
@click.option("--limit", type=click.IntRange(min=1), default=PAGE, show_default=True, help="Show so many datasets.")
@click.option("--all", "show_deleted", is_flag=True, help="Also what is deleted and can be undeleted.")
@common
@pass_session
def ls(session: Session, place: Place | None, limit: int, *, show_deleted: bool) -> None:
    """List catalogs, the datasets of a catalog, newest first, or the files and arrays of a dataset."""
    with session.connect() as client:
        if place is None:
            found = client.catalogs(show_deleted=show_deleted)
            print_table(session, [facts_of_catalog(catalog) for catalog in found], CATALOG_COLUMNS)
        elif place.dataset:
            list_contents(session, client, place)
        else:
            list_datasets(session, client, place, "", "-created", limit, show_deleted=show_deleted)


@click.command()
@click.argument("catalog", type=CATALOG)
@click.argument("filter_text", metavar="[FILTER]", default="")
@click.option("--order-by", metavar="PATH,…", default="", help="With a leading - for descending, as in -created,title.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--show", "shown", metavar="KEY", multiple=True, help="A metadata key to show as a column; repeat it.")
@click.option("--count", is_flag=True, help="Say only how many there are.")
@click.option("--all", "show_deleted", is_flag=True, help="Also what is deleted and can be undeleted.")
@common
@pass_session
def find(
    session: Session,
    catalog: Place,
    filter_text: str,
    order_by: str,
    limit: int | None,
    shown: tuple[str, ...],
    *,
    count: bool,
    show_deleted: bool,
) -> None:
    """Find datasets by what was measured.

    \b
    measurand find lab 'metadata.temperature < 0.02 AND tags:"t1"' --order-by -created
    """  # noqa: D301  # click reads the \b
    with session.connect() as client:
        if count:
            number = client.catalog(catalog.catalog).count(filter_text, show_deleted=show_deleted)
            if session.as_json:
                print_facts(session, {"count": number})
            else:
                click.echo(str(number))
        else:
            list_datasets(session, client, catalog, filter_text, order_by, limit, shown, show_deleted=show_deleted)


def list_datasets(
    session: Session,
    client: Client,
    place: Place,
    filter_text: str,
    order_by: str,
    limit: int | None,
    shown: tuple[str, ...] = (),
    *,
    show_deleted: bool,
) -> None:
    page_size = min(limit or 1000, 1000)
    found = client.catalog(place.catalog).find(
        filter_text, order_by=order_by, limit=limit, page_size=page_size, show_deleted=show_deleted
    )
    rows = []
    for dataset in found:
        facts = facts_of_dataset(dataset)
        facts.update({key: value_at(facts["metadata"], key) for key in shown} if not session.as_json else {})
        rows.append(facts)
    print_table(session, rows, [*DATASET_COLUMNS, *shown])
    if limit is not None and len(rows) == limit:
        session.remark(f"These are the first {limit}; there may be more (--limit).")


def value_at(metadata: dict[str, Any], key: str) -> object:
    """Return a value of a document for a column, or None where there is none."""
    from measurand.wire.patches import parse_path

    found: object = metadata
    for segment in parse_path(key):
        found = found.get(segment) if isinstance(found, dict) else None
    return found


def list_contents(session: Session, client: Client, place: Place) -> None:
    dataset = client.catalog(place.catalog).get(place.dataset, fields=["title"])
    files = [facts_of_file(file) for file in dataset.files(place.path or "")] if place.array is None else []
    arrays = rows_of_arrays(dataset, place.array or "") if place.path is None else []
    if not session.as_json:
        for row in arrays:
            row["shape"] = tuple_text(row["shape"])
    print_table(session, [*arrays, *files], ARRAY_COLUMNS if arrays else FILE_COLUMNS)


@click.command(short_help="Show all that is known about something.")
@click.argument("place", type=PLACE)
@click.option("--revision", metavar="N", type=click.IntRange(min=1), help="The dataset as that revision left it.")
@click.option("--plot", metavar="[FILE.png]", is_flag=False, flag_value="", help="Draw an array, here or as a PNG.")
@common
@pass_session
def show(session: Session, place: Place, revision: int | None, plot: str | None) -> None:
    """Show all that is known about a catalog, a dataset, a file or an array, and some elements of an array.

    A picture has the last two axes of an array, in the middle of the others. Only some chunks are read for it.

    \b
    measurand show lab/run-17/arrays/iq --plot
    """  # noqa: D301  # click reads the \b
    if plot is not None and (not place.array or place.is_group):
        raise click.UsageError("--plot draws one array; write CATALOG/DATASET/arrays/NAME, and --plot behind it")
    if plot and not plot.lower().endswith(".png"):
        raise click.UsageError(f"--plot writes a PNG; {plot} is called otherwise")
    with session.connect() as client:
        catalog = client.catalog(place.catalog)
        if not place.dataset:
            print_facts(session, facts_of_catalog(catalog))
            return
        dataset = catalog.get(place.dataset, show_deleted=True)
        if place.path:
            print_facts(session, facts_of_file(dataset.stat(place.path)))
            return
        if place.array and not place.is_group:
            show_array(session, dataset.array(place.array), plot)
            return
        facts = facts_of_dataset(dataset if revision is None else dataset.at(revision))
        has_arrays = revision is None and dataset.deleted is None
        found = dataset.arrays(place.array or "") if has_arrays else []
        # What the store has of each is asked for one by one.
        arrays = [stored_facts(array) if len(found) <= PAGE else facts_of_array(array) for array in found]
        if session.as_json:
            print_json({**facts, "arrays": arrays})
            return
        print_facts(session, facts)
        if arrays:
            click.echo()
            rows = [{**row, "shape": tuple_text(row["shape"]), "chunks": tuple_text(row["chunks"])} for row in arrays]
            print_table(session, rows, ["array", "shape", "dtype", "chunks", "size", "stored", "ratio"])


@click.command()
@click.argument("place", type=PLACE)
@common
@pass_session
def exists(session: Session, place: Place) -> None:
    """Print true or false: whether there is such a catalog, dataset, folder, file or array. What is deleted is not.

    Exit codes: 0 there is, 3 there is not.
    """
    with session.connect() as client:
        try:
            found = is_there(client, place)
        except NotFound:
            found = False
    print_json(found)
    if not found:
        raise click.exceptions.Exit(NOT_FOUND)


def is_there(client: Client, place: Place) -> bool:
    """Tell whether something exists, or raise NotFound."""
    catalog = client.catalog(place.catalog)
    if not place.dataset:
        return catalog.deleted is None
    dataset = catalog.get(place.dataset, fields=["title"])
    if place.is_folder:
        return bool(dataset.files(place.path or ""))
    if place.is_group:
        return bool(dataset.arrays(place.array or ""))
    if place.path is not None:
        return bool(dataset.stat(place.path))
    return place.array is None or bool(dataset.array(place.array).name)


def tuple_text(lengths: Sequence[int]) -> str:
    """Return a shape as Python writes it."""
    return str(tuple(lengths))


@click.command()
@click.argument("dataset", type=DATASET)
@common
@pass_session
def history(session: Session, dataset: Place) -> None:
    """Show every change of a dataset, newest first."""
    with session.connect() as client:
        revisions = client.catalog(dataset.catalog).get(dataset.dataset, show_deleted=True).history()
    rows = [
        {
            "revision": revision.number,
            "created": revision.created,
            "author": revision.author,
            "changed": list(revision.changed_paths),
            "comment": revision.comment,
        }
        for revision in revisions
    ]
    print_table(session, rows, ["revision", "created", "author", "changed", "comment"])


def facts_of_catalog(catalog: Any) -> dict[str, Any]:
    """Return what a catalog's handle knows."""
    return {
        "id": catalog.id,
        "title": catalog.title,
        "description": catalog.description,
        "labels": catalog.labels,
        "created": catalog.created,
        "updated": catalog.updated,
        "deleted": catalog.deleted,
        "datasets": catalog.dataset_count,
        "bytes": catalog.stored_bytes,
        "storage": None if catalog.storage is None else str(catalog.storage),
    }
