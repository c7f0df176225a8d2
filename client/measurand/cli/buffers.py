"""`buffer …`: live streams of records. Here is what makes, shows and drops them; the other commands are beside this."""

from __future__ import annotations

from pathlib import Path

import click

from measurand.cli.buffers_appending import append
from measurand.cli.buffers_freezing import batches, finish, freeze, rotate, unfreeze
from measurand.cli.buffers_groups import groups
from measurand.cli.buffers_output import facts_of_buffer
from measurand.cli.buffers_places import BUFFER, BufferPlace, as_typed, limits_of, number_or_text
from measurand.cli.buffers_tailing import log, tail
from measurand.cli.buffers_top import top
from measurand.cli.output import cell, print_facts, print_table
from measurand.cli.pairs import document_of, merged, read_file
from measurand.cli.places import CATALOG, Place
from measurand.cli.session import Session, common, pass_session

__all__ = ["buffer"]

COLUMNS = ("id", "state", "owner", "window", "records", "bytes", "next_sequence", "batches", "last_time")


@click.group(no_args_is_help=True, short_help="Live streams of records: append, tail, freeze.")
def buffer() -> None:
    """Live streams of records: ordered, durable, frozen while a model is trained.

    \b
    measurand buffer create lab/h1-strain --freeze-after bytes=2GiB
    measurand buffer append lab/h1-strain - < samples.txt
    measurand buffer tail lab/h1-strain --follow
    """  # noqa: D301  # click reads the \b


@buffer.command()
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.option("--description", default="", help="Free text.")
@click.option("--meta", "pairs", metavar="KEY=VALUE", multiple=True, help="What is measured; goes into every batch.")
@click.option("--meta-file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--freeze-after",
    metavar="LIMIT",
    multiple=True,
    help="Freeze at records=N, bytes=2GiB or seconds=600, whichever comes first; repeat it.",
)
@click.option("--rotate", is_flag=True, help="At these limits seal a batch and go on, instead of freezing.")
@click.option("--batch-title", default="", help="Title of batches; {buffer}, {window} and {time} are filled in.")
@click.option("--keep", metavar="LIMIT", multiple=True, help="Keep batches up to age=30d, bytes=1TiB, batches=N.")
@click.option("--keep-sealed", metavar="TIME", help="Read sealed records through the buffer for so long, as in 1d.")
@click.option("--exist-ok", is_flag=True, help="Leave one that is there as it is.")
@common
@pass_session
def create(
    session: Session,
    place: BufferPlace,
    description: str,
    pairs: tuple[str, ...],
    meta_file: Path | None,
    freeze_after: tuple[str, ...],
    batch_title: str,
    keep: tuple[str, ...],
    keep_sealed: str | None,
    *,
    rotate: bool,
    exist_ok: bool,
) -> None:
    """Make a buffer."""
    metadata = merged(read_file(meta_file) if meta_file else {}, document_of(pairs))
    freezes = limits_of(freeze_after, ("records", "bytes", "seconds"))
    keeps = limits_of(keep, ("age", "bytes", "batches"))
    if rotate and not freezes:
        raise click.UsageError("--rotate needs to know when; give --freeze-after")
    with session.connect() as client, as_typed():
        made = client.catalog(place.catalog).create_buffer(
            place.buffer,
            metadata=metadata,
            description=description,
            freeze_after=freezes,
            rotate=rotate,
            batch_title=batch_title,
            retention=keeps,
            keep_sealed=None if keep_sealed is None else number_or_text(keep_sealed),
            exist_ok=exist_ok,
        )
        if session.as_json:
            print_facts(session, facts_of_buffer(made))
    session.remark(f"{place} is there; put records into it with `measurand buffer append {place} TEXT`")


@buffer.command()
@click.argument("catalog", metavar="CATALOG", type=CATALOG)
@common
@pass_session
def ls(session: Session, catalog: Place) -> None:
    """List the buffers of a catalog."""
    with session.connect() as client:
        rows = [facts_of_buffer(found) for found in client.catalog(catalog.catalog).buffers()]
    print_table(session, rows, COLUMNS)


@buffer.command()
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@common
@pass_session
def stat(session: Session, place: BufferPlace) -> None:
    """Show what is in a buffer, exactly, and who holds it."""
    with session.connect() as client:
        facts = facts_of_buffer(client.catalog(place.catalog).buffer(place.buffer))
    if not session.as_json:
        facts["records_per_second"] = f"{facts['records_per_second']:,.1f}"
        facts["bytes_per_second"] = cell(facts["bytes_per_second"], "bytes")
    print_facts(session, facts)


@buffer.command()
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.option("--force", is_flag=True, help="Even if it holds records that are in no batch.")
@common
@pass_session
def drop(session: Session, place: BufferPlace, *, force: bool) -> None:
    """Delete a buffer, for good. Its batches stay."""
    with session.connect() as client:
        client.catalog(place.catalog).buffer(place.buffer).delete(force=force)
    session.remark(f"{place} is gone")


for command in (append, tail, log, freeze, unfreeze, rotate, batches, finish, groups, top):
    buffer.add_command(command)
