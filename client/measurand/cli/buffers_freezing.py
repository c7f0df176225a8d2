"""`buffer freeze|unfreeze|rotate|finish|batches`: windows are closed, sealed into batches, and go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from measurand.cli.buffers_output import facts_of_batch, facts_of_freeze
from measurand.cli.buffers_places import BUFFER, BufferPlace, as_typed, number_or_text
from measurand.cli.output import print_facts, print_table
from measurand.cli.pairs import document_of
from measurand.cli.session import Session, common, pass_session
from measurand.cli.status import CONFLICT

__all__ = ["batches", "finish", "freeze", "rotate", "unfreeze"]

Command = TypeVar("Command", bound=Callable[..., Any])

BATCH_COLUMNS = ("id", "window", "records", "bytes", "first_sequence", "last_sequence", "first_time", "owner", "title")


@click.command(short_help="Freeze the open window: nothing more gets into it.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.option("--force", is_flag=True, help="Even below the limits of the buffer.")
@click.option("--wait", metavar="TIME", default="0", help="Wait so long for the limits, as in 60 or 1h.")
@click.option("--lease", metavar="TIME", help="Unfreeze by itself after so long, as in 15m; 1 minute to 24 hours.")
@click.option("--comment", default="", help="What to note in the log.")
@common
@pass_session
def freeze(session: Session, place: BufferPlace, wait: str, lease: str | None, comment: str, *, force: bool) -> None:
    """Freeze the open window: nothing more gets into it, and its figures are final.

    A buffer with limits freezes only when one of them is reached. Below them it is WAITING: nothing has changed, and
    the exit code is 4. The token unfreezes; it is shown here and nowhere else.
    """
    with session.connect() as client, as_typed():
        buffer = client.catalog(place.catalog).buffer(place.buffer)
        made = buffer.freeze(
            force=force,
            wait=number_or_text(wait),
            lease=None if lease is None else number_or_text(lease),
            comment=comment,
        )
    print_facts(session, facts_of_freeze(place, made))
    if made.state == "WAITING":
        raise SystemExit(CONFLICT)
    session.remark(f"go on with `measurand buffer unfreeze {place} --token …`")


def of_batch(command: Command) -> Command:
    """Add the options that say what a batch is."""
    command = click.option("--meta", "pairs", metavar="KEY=VALUE", multiple=True, help="Metadata of the batch.")(
        command
    )
    command = click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag of the batch.")(command)
    return click.option("--title", default="", help="Title of the batch.")(command)


@click.command(short_help="Seal the frozen window into a batch and go on.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.option(
    "--token",
    metavar="TOKEN",
    envvar="MEASURAND_FREEZE_TOKEN",
    default="",
    help="From freeze; or in MEASURAND_FREEZE_TOKEN. Not needed where the buffer froze by itself.",
)
@click.option("--force", is_flag=True, help="Without the token: end somebody else's freeze.")
@click.option("--discard", is_flag=True, help="Throw the records of the window away; no batch is made.")
@click.option("--allow-empty", is_flag=True, help="Make a batch even of no records.")
@of_batch
@common
@pass_session
def unfreeze(
    session: Session,
    place: BufferPlace,
    token: str,
    title: str,
    tags: tuple[str, ...],
    pairs: tuple[str, ...],
    *,
    force: bool,
    discard: bool,
    allow_empty: bool,
) -> None:
    """Seal the frozen window into a batch, which is a dataset, and let records in again; prints the dataset."""
    with session.connect() as client:
        buffer = client.catalog(place.catalog).buffer(place.buffer)
        batch = buffer.unfreeze(
            token=token,
            force=force,
            discard=discard,
            allow_empty=allow_empty,
            title=title,
            tags=tags,
            metadata=document_of(pairs),
        )
        tell(session, place, batch)


@click.command(short_help="Seal the open window into a batch, without a break.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@of_batch
@common
@pass_session
def rotate(session: Session, place: BufferPlace, title: str, tags: tuple[str, ...], pairs: tuple[str, ...]) -> None:
    """Freeze and unfreeze in one step: the window becomes a batch, and no append is refused; prints the dataset."""
    with session.connect() as client:
        buffer = client.catalog(place.catalog).buffer(place.buffer)
        tell(session, place, buffer.rotate(title=title, tags=tags, metadata=document_of(pairs)))


@click.command(short_help="Say that no more records will come.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.option("--next", "next_buffer", metavar="BUFFER", default="", help="The buffer in which the stream goes on.")
@common
@pass_session
def finish(session: Session, place: BufferPlace, next_buffer: str) -> None:
    """Say that no more records will come, and perhaps where the stream goes on; tails and consumers then end."""
    with session.connect() as client:
        client.catalog(place.catalog).buffer(place.buffer).finish(next=next_buffer)
    session.remark(f"{place} is finished")


@click.command(short_help="List what was sealed.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@common
@pass_session
def batches(session: Session, place: BufferPlace) -> None:
    """List the batches of a buffer, newest first. Each is a dataset, which `show` and `find` know."""
    with session.connect() as client:
        found = client.catalog(place.catalog).buffer(place.buffer).batches()
        rows = [facts_of_batch(batch) for batch in found]
    print_table(session, rows, BATCH_COLUMNS)


def tell(session: Session, place: BufferPlace, batch: Any) -> None:
    """Write which dataset a window has become."""
    if session.as_json:
        print_facts(session, {"buffer": str(place), "batch": None if batch is None else facts_of_batch(batch)})
    elif batch is None:
        session.remark(f"{place} takes records again; no batch was made")
    else:
        click.echo(f"{place.catalog}/{batch.name}")
        session.remark(f"{len(batch)} records are sealed; {place} takes records again")
