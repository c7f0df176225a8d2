"""`catalog create|ls|rm|undelete`."""

from __future__ import annotations

import click

from measurand.cli.looking import CATALOG_COLUMNS, facts_of_catalog
from measurand.cli.output import print_facts, print_table
from measurand.cli.places import CATALOG, Place
from measurand.cli.session import Session, common, pass_session
from measurand.wire.redundancy import FORMS

__all__ = ["catalog"]


@click.group(no_args_is_help=True)
def catalog() -> None:
    """Make, list and delete catalogs."""


@catalog.command()
@click.argument("place", metavar="CATALOG", type=CATALOG)
@click.option("--title", default="", help="Free text.")
@click.option("--description", default="", help="Free text.")
@click.option("--undelete-days", metavar="N", type=click.FloatRange(min=0), help="How long what is deleted stays [30].")
@click.option("--storage", metavar="POLICY", help=f"Where what is written into it is kept: {FORMS}.")
@click.option("--exist-ok", is_flag=True, help="Leave one that is there as it is.")
@common
@pass_session
def create(
    session: Session,
    place: Place,
    title: str,
    description: str,
    undelete_days: float | None,
    storage: str | None,
    *,
    exist_ok: bool,
) -> None:
    """Make a catalog."""
    from datetime import timedelta

    window = None if undelete_days is None else timedelta(days=undelete_days)
    with session.connect() as client:
        made = client.create_catalog(
            place.catalog,
            title=title,
            description=description,
            undelete_window=window,
            storage=storage,
            exist_ok=exist_ok,
        )
        if session.as_json:
            print_facts(session, facts_of_catalog(made))
        session.remark(f"{made.id} is there; put something into it with `measurand put PATH {made.id}`")


@catalog.command()
@click.option("--all", "show_deleted", is_flag=True, help="Also the deleted ones.")
@common
@pass_session
def ls(session: Session, *, show_deleted: bool) -> None:
    """List the catalogs."""
    with session.connect() as client:
        found = client.catalogs(show_deleted=show_deleted)
    print_table(session, [facts_of_catalog(item) for item in found], CATALOG_COLUMNS)


@catalog.command()
@click.argument("place", metavar="CATALOG", type=CATALOG)
@click.option("--force", is_flag=True, help="With everything in it.")
@common
@pass_session
def rm(session: Session, place: Place, *, force: bool) -> None:
    """Delete a catalog; it can be undeleted for some time."""
    with session.connect() as client:
        client.delete_catalog(place.catalog, force=force)
    session.remark(f"{place} is deleted; bring it back with `measurand catalog undelete {place}`")


@catalog.command()
@click.argument("place", metavar="CATALOG", type=CATALOG)
@common
@pass_session
def undelete(session: Session, place: Place) -> None:
    """Bring back a deleted catalog with all that was in it."""
    with session.connect() as client:
        back = client.undelete_catalog(place.catalog)
        if session.as_json:
            print_facts(session, facts_of_catalog(back))
    session.remark(f"{place} is back")
