"""`operation ls|show|watch|cancel|rm`: long jobs of the server."""

from __future__ import annotations

import click

from measurand.cli.operations_output import facts_of_operation, far, follow
from measurand.cli.output import print_facts, print_table
from measurand.cli.session import Session, common, pass_session

__all__ = ["operation"]

COLUMNS = ("id", "kind", "state", "progress", "targets", "failed", "created", "ended")


@click.group(no_args_is_help=True, short_help="Long jobs of the server: list, watch, cancel.")
def operation() -> None:
    """Look at the long jobs of the server, such as drains and repairs, and cancel them.

    \b
    measurand operation ls 'state = running'
    measurand operation watch 01JD8Y6T4GZQ5N3K7V2B9XWCMF
    """  # noqa: D301  # click reads the \b


@operation.command()
@click.argument("filter_text", metavar="[FILTER]", default="")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), default=100, show_default=True)
@common
@pass_session
def ls(session: Session, filter_text: str, limit: int) -> None:
    """List operations, newest first. FILTER: over kind, state, targets, creator, created, updated."""
    with session.connect() as client:
        found = client.operations.list(filter_text, limit=limit)
    rows = [facts_of_operation(one) for one in found]
    if not session.as_json:
        shown = {one.id: {"progress": far(one), "failed": len(one.failed) or None} for one in found}
        rows = [{**row, **shown[row["id"]], "targets": row["targets"][:3]} for row in rows]
    print_table(session, rows, COLUMNS)


@operation.command()
@click.argument("operation_id", metavar="ID")
@common
@pass_session
def show(session: Session, operation_id: str) -> None:
    """Show all that is known about an operation: how far it is, what came of it, what failed."""
    with session.connect() as client:
        found = client.operations.get(operation_id)
    facts = facts_of_operation(found)
    print_facts(session, facts if session.as_json else {**facts, "progress": far(found)})


@operation.command()
@click.argument("operation_id", metavar="ID")
@common
@pass_session
def watch(session: Session, operation_id: str) -> None:
    """Follow an operation until it has ended; fails if it did. Ctrl-C ends the watching only."""
    with session.connect() as client:
        try:
            follow(session, client.operations.get(operation_id))
        except KeyboardInterrupt:  # it goes on
            return


@operation.command()
@click.argument("operation_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Return when it has stopped.")
@common
@pass_session
def cancel(session: Session, operation_id: str, *, wait: bool) -> None:
    """Ask an operation to stop, where nothing is half done."""
    with session.connect() as client:
        asked = client.operations.cancel(operation_id)
        if wait:
            asked.wait(progress=session.shows_progress)
    if session.as_json:
        print_facts(session, facts_of_operation(asked))
    session.remark(f"{asked.id} is {asked.state}")


@operation.command()
@click.argument("operation_id", metavar="ID")
@common
@pass_session
def rm(session: Session, operation_id: str) -> None:
    """Forget an operation that has ended."""
    with session.connect() as client:
        client.operations.get(operation_id).delete()
    session.remark(f"{operation_id} is forgotten")
