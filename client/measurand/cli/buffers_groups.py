"""`buffer groups`: where the groups of consumers stand, and where they go on."""

from __future__ import annotations

from dataclasses import asdict

import click

from measurand.cli.buffers_output import facts_of_group
from measurand.cli.buffers_places import BUFFER, BufferPlace, as_typed, number_or_text
from measurand.cli.output import print_facts, print_json, print_table
from measurand.cli.session import Session, common, pass_session

__all__ = ["groups"]

COLUMNS = ("id", "settled", "lag", "outstanding", "returned", "given_up")


@click.command(short_help="List the groups of consumers, and how far behind they are.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.argument("group", metavar="[GROUP]", default="")
@click.option("--seek", metavar="begin|end|SEQ", help="Have the group go on there, and forget what is out.")
@common
@pass_session
def groups(session: Session, place: BufferPlace, group: str, seek: str | None) -> None:
    """List the groups of consumers: what is settled, out with consumers, waits to come again, was given up.

    Of one GROUP also which records these are; with --seek it goes on elsewhere.
    """
    if seek is not None and not group:
        raise click.UsageError("--seek moves one group; name it")
    with session.connect() as client:
        buffer = client.catalog(place.catalog).buffer(place.buffer)
        if not group:
            found = [facts_of_group(buffer.group(name).facts()) for name in buffer.groups()]
            print_table(session, found, COLUMNS)
            return
        handle = buffer.group(group)
        if seek is not None:
            with as_typed():
                handle.seek(number_or_text(seek))
        facts = facts_of_group(handle.facts())
        facts["unacknowledged"] = handle.unacknowledged()
        dead = handle.dead()
    if session.as_json:
        print_json({**facts, "dead": [asdict(record) for record in dead]})
    else:
        print_facts(session, {**facts, "dead": [record.seq for record in dead]})
