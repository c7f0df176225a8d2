"""`watch`: changes as they happen."""

from __future__ import annotations

import sys

import click

from measurand.cli.output import cell, facts_of_dataset, print_json
from measurand.cli.places import CATALOG, Place
from measurand.cli.session import Session, common, pass_session

__all__ = ["watch"]


@click.command(short_help="Show changes as they happen.")
@click.argument("catalog", type=CATALOG)
@click.argument("filter_text", metavar="[FILTER]", default="")
@click.option("--existing", is_flag=True, help="First what matches now.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="End after so many changes.")
@click.option("--resume", metavar="TOKEN", default="", help="Go on after this change; --json tells the tokens.")
@common
@pass_session
def watch(
    session: Session, catalog: Place, filter_text: str, limit: int | None, resume: str, *, existing: bool
) -> None:
    """Show changes of datasets as they happen, one a line; end with Ctrl-C."""
    with session.connect() as client:
        changes = client.catalog(catalog.catalog).watch(filter_text, include_existing=existing, resume=resume)
        session.remark(f"watching {catalog}; end with Ctrl-C")
        try:
            for number, change in enumerate(changes, 1):
                dataset = change.dataset
                if session.as_json:
                    facts = facts_of_dataset(dataset)
                    print_json({"kind": change.kind, "dataset": facts, "resume_token": change.resume_token})
                else:
                    parts = (cell(dataset.updated), change.kind, f"{dataset.catalog}/{dataset.id}", cell(dataset.title))
                    click.echo("  ".join(parts).rstrip())
                    sys.stdout.flush()
                if number == limit:
                    return
        except KeyboardInterrupt:  # how it is meant to end
            return
        finally:
            changes.close()
