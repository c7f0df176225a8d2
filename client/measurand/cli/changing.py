"""`edit`, `rm`, `undelete`: change what is there."""

from __future__ import annotations

import click

from measurand.cli.output import facts_of_dataset, print_facts, print_json
from measurand.cli.pairs import patch_of
from measurand.cli.places import DATASET, PLACE, Place
from measurand.cli.session import Session, common, pass_session
from measurand.wire.redundancy import FORMS

__all__ = ["edit", "rm", "undelete"]


@click.command()
@click.argument("dataset", type=DATASET)
@click.option("--set", "pairs", metavar="KEY=VALUE", multiple=True, help="Set a metadata key; VALUE is JSON or text.")
@click.option("--unset", metavar="KEY", multiple=True, help="Remove a metadata key.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Add a tag.")
@click.option("--untag", "untags", metavar="TAG", multiple=True, help="Take a tag away.")
@click.option("--title", help="Give it another title.")
@click.option("--kind", help="Give it another kind.")
@click.option("--storage", metavar="POLICY", help=f"Where what is written from now on is kept: {FORMS}.")
@click.option("--comment", default="", help="What to note in the history.")
@click.option("--etag", metavar="ETAG", help="Only if it is still at this etag, which `show` tells.")
@common
@pass_session
def edit(
    session: Session,
    dataset: Place,
    pairs: tuple[str, ...],
    unset: tuple[str, ...],
    tags: tuple[str, ...],
    untags: tuple[str, ...],
    title: str | None,
    kind: str | None,
    storage: str | None,
    comment: str,
    etag: str | None,
) -> None:
    """Change a dataset.

    \b
    measurand edit lab/run-17 --set temperature=0.013 --unset note --tag good
    """  # noqa: D301  # click reads the \b
    patch = patch_of(pairs, unset)
    if not (patch or title is not None or kind is not None or storage is not None or tags or untags):
        raise click.UsageError("nothing to change; give --set, --unset, --tag, --untag, --title, --kind or --storage")
    with session.connect() as client:
        handle = client.catalog(dataset.catalog).get(dataset.dataset)
        handle.update(
            patch or None,
            title=title,
            kind=kind,
            add_tags=tags,
            remove_tags=untags,
            storage=storage,
            comment=comment,
            if_match=etag,
        )
        if session.as_json:
            print_facts(session, facts_of_dataset(handle))
        else:
            session.remark(f"{dataset} is at revision {handle.revision}")


@click.command()
@click.argument("places", metavar="PLACE…", type=PLACE, nargs=-1, required=True)
@click.option("--purge", is_flag=True, help="For good and at once; it cannot be undeleted.")
@common
@pass_session
def rm(session: Session, places: tuple[Place, ...], *, purge: bool) -> None:
    """Delete datasets, or files or arrays of them. Datasets can be undeleted for some time; the others cannot."""
    for place in places:
        if not place.dataset:
            raise click.UsageError(f"{place} is a catalog; delete it with `measurand catalog rm {place}`")
        if place.path is not None and (place.is_folder or purge):
            raise click.UsageError(f"{place}: name one file, without --purge" if purge else f"{place}: name one file")
        if place.array is not None and (place.is_group or purge):
            raise click.UsageError(f"{place}: name one array, without --purge" if purge else f"{place}: name one array")
    with session.connect() as client:
        for place in places:
            dataset = client.catalog(place.catalog).get(place.dataset, show_deleted=True)
            if place.path is not None:
                dataset.delete_file(place.path)
            elif place.array is not None:
                dataset.delete_array(place.array)
            elif purge:
                dataset.purge(force=True)
            else:
                dataset.delete()
            is_gone = purge or place.path is not None or place.array is not None
            if session.as_json:
                print_json({"deleted": str(place), "purge_time": None if is_gone else dataset.purge_time})
            elif is_gone:
                session.remark(f"{place} is gone")
            else:
                session.remark(f"{place} is deleted; bring it back with `measurand undelete {place}`")


@click.command()
@click.argument("datasets", metavar="CATALOG/DATASET…", type=DATASET, nargs=-1, required=True)
@common
@pass_session
def undelete(session: Session, datasets: tuple[Place, ...]) -> None:
    """Bring back deleted datasets."""
    with session.connect() as client:
        for place in datasets:
            dataset = client.catalog(place.catalog).undelete(place.dataset)
            if session.as_json and dataset is not None:
                print_facts(session, facts_of_dataset(dataset))
            session.remark(f"{place} is back")
