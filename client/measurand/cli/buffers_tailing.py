"""`buffer tail` and `buffer log`: records and events, those that are there and those that come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from measurand.cli.buffers_output import print_event, print_record
from measurand.cli.buffers_places import BUFFER, BufferPlace
from measurand.cli.session import Session, common, pass_session
from measurand.cli.status import NOT_FOUND, Failure

if TYPE_CHECKING:
    from measurand.client import Batch, Buffer
    from measurand.client.buffer_facts import Stats

if TYPE_CHECKING:
    from measurand.client import Batch, Buffer
    from measurand.client.buffer_facts import Stats

__all__ = ["log", "tail"]

NEWEST = 10


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Take Ctrl-C as the end that it is meant to be."""
    try:
        yield
    except KeyboardInterrupt:
        return


class Beginning(click.ParamType[int | str]):
    """Where to begin: `now`, `begin`, or a sequence."""

    name = "beginning"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value in ("now", "begin"):
            return str(value)
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is no beginning; write now, begin, or the sequence of a record", param, ctx)
        return number


@click.command(short_help="Show records, also as they come.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.option("-f", "--follow", is_flag=True, help="Go on as records come; end with Ctrl-C.")
@click.option(
    "--from",
    "beginning",
    metavar="now|begin|SEQ",
    type=Beginning(),
    help=f"Begin there; else with the newest {NEWEST}.",
)
@click.option("--window", metavar="N", type=click.IntRange(min=1), help="The records of window N, out of its batch.")
@click.option("--filter", "filter_text", metavar="FILTER", default="", help="Only records that match.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="End after so many.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="End when none has come for so long.")
@click.option("--headers", "headers_only", is_flag=True, help="Without their bytes.")
@click.option("--raw", "form", flag_value="raw", help="Only the bytes, one record after the other.")
@click.option("--lines", "form", flag_value="lines", help="Only the bytes, each record a line.")
@common
@pass_session
def tail(
    session: Session,
    place: BufferPlace,
    beginning: int | str | None,
    window: int | None,
    filter_text: str,
    limit: int | None,
    timeout: float | None,
    form: str | None,
    *,
    follow: bool,
    headers_only: bool,
) -> None:
    """Show records from some point on, one a line; with --follow also those that come.

    \b
    measurand buffer tail lab/h1-strain --follow --filter 'channel = "H1:STRAIN" AND size > 1000'
    measurand buffer tail lab/raw --from begin --raw > all.bin
    """  # noqa: D301  # click reads the \b
    if headers_only and form:
        raise click.UsageError(f"--headers leaves out the bytes, --{form} writes nothing else; give one of them")
    if timeout is not None and not follow:
        raise click.UsageError("--timeout is how long to wait for records; give --follow as well")
    if window is not None and (follow or beginning is not None):
        raise click.UsageError("--window shows all of a batch, to which nothing comes; leave out --follow and --from")
    with session.connect() as client, until_interrupted():
        buffer = client.catalog(place.catalog).buffer(place.buffer)
        after = 0 if window is not None else sequence_before(beginning, buffer.stats())
        if follow:
            following = buffer.tail(after or "begin", filter=filter_text, timeout=timeout, data=not headers_only)
            records = iter(following)
        else:
            source = buffer if window is None else batch_of(buffer, window)
            records = source.records(after, filter=filter_text, data=not headers_only, limit=limit)
        with closing(records):
            for record in islice(records, limit):
                if form is None:
                    print_record(session, record, with_data=not headers_only)
                else:
                    write(record.data + (b"\n" if form == "lines" else b""))


def batch_of(buffer: Buffer, window: int) -> Batch:
    """Return the batch that a window has become. Failure: there is none, or not any more."""
    for batch in buffer.batches():
        if batch.window == window:
            return batch
    raise Failure(
        f"window {window} of {buffer.id} has no batch; `measurand buffer batches` lists those that there are",
        exit_code=NOT_FOUND,
        facts={"reason": "RESOURCE_NOT_FOUND", "details": {"resource": f"{buffer.name}, window {window}"}},
    )


def sequence_before(beginning: int | str | None, stats: Stats) -> int:
    """Return the sequence after which the records begin that are wanted."""
    if beginning == "begin":
        return 0
    if isinstance(beginning, int):
        return beginning - 1
    newest = 0 if beginning == "now" else NEWEST
    return max(stats.next_sequence - 1 - newest, stats.first_sequence - 1, 0)


def write(data: bytes) -> None:
    """Write bytes, flushed: a pipe sees them at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@click.command(short_help="Show who froze it, when, why; also as it happens.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.option("-f", "--follow", is_flag=True, help="Go on as things happen; end with Ctrl-C.")
@click.option("--after", metavar="N", type=click.IntRange(min=0), default=0, help="Only events after this number.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="End after so many.")
@click.option("--note", metavar="TEXT", default="", help="Write a note into the log, instead of showing it.")
@common
@pass_session
def log(session: Session, place: BufferPlace, after: int, limit: int | None, note: str, *, follow: bool) -> None:
    """Show what has happened to a buffer: who made it, froze it, sealed it, and what was refused; oldest first."""
    with session.connect() as client, until_interrupted():
        buffer = client.catalog(place.catalog).buffer(place.buffer)
        if note:
            print_event(session, buffer.note(note))
            return
        with closing(buffer.log(after, follow=follow, limit=None if follow else limit)) as events:
            for event in islice(events, limit):
                print_event(session, event)
