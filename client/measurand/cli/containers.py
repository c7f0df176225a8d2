"""`container add|ls|show|edit|drain|undrain|rm|repair|check|probe|rebalance|recode|explain`: places that hold blobs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from measurand.cli.added import OpenGroup
from measurand.cli.containers_output import explained, told_of_blobs
from measurand.cli.operations_output import facts_of_operation, follow
from measurand.cli.output import counted, print_facts, print_table
from measurand.cli.session import Session, common, pass_session
from measurand.cli.status import failure_of

__all__ = ["container"]

COLUMNS = ("id", "state", "kind", "zone", "parts", "stored", "free", "capacity", "uri")
TRIED = ("what", "ok", "seconds", "message")
ID = click.argument("container_id", metavar="NAME")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
NO_WAIT = click.option("--no-wait", is_flag=True, help="Begin it and return; follow it by `operation watch`.")


@click.group(cls=OpenGroup, no_args_is_help=True, short_help="Places that hold blobs: add, drain, repair, check.")
def container() -> None:
    """Add places that hold blobs, look after them, and take them out.

    \b
    measurand container add nas file:///mnt/nas --zone hall-3
    measurand container add ceph 's3://bucket?endpoint=http://ceph:8000'
    measurand container serve --of grpc://server:50051 --data /mnt/disk
    measurand catalog create vault --storage erasure:4+2
    measurand container check
    """  # noqa: D301  # click reads the \b


@container.command()
@ID
@click.argument("uri", metavar="URI")
@click.option("--zone", metavar="ZONE", default="", help="A site, room or rack: parts of a blob go to different ones.")
@click.option("--title", default="", help="Free text.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A word that a storage policy can ask for.")
@click.option("--weight", metavar="W", type=float, default=1.0, help="How much more than others it is used [1].")
@click.option("--max-bytes", metavar="N", type=int, default=0, help="Fill it up to this and no more.")
@click.option("--read-only", is_flag=True, help="It takes no new blobs.")
@click.option("--rejoin", is_flag=True, help="It was there before, with what it holds.")
@common
@pass_session
def add(session: Session, /, container_id: str, uri: str, labels: tuple[str, ...], **given: Any) -> None:
    """Add a container: file:///FOLDER, s3://BUCKET/PREFIX?endpoint=URL or grpc://HOST:PORT."""
    pairs = dict(_pair(label) for label in labels)
    with session.connect() as client:
        made = client.containers.add(container_id, uri, labels=pairs, **given)
    if session.as_json:
        print_facts(session, asdict(made))
    session.remark(f"{made.id} is {made.state}; give a catalog a policy with `measurand catalog create --storage`")


@container.command()
@click.argument("filter_text", metavar="[FILTER]", default="")
@common
@pass_session
def ls(session: Session, filter_text: str) -> None:
    """List the containers. FILTER: over id, kind, zone and labels."""
    with session.connect() as client:
        found = client.containers.list(filter_text)
    rows = [asdict(one) for one in found]
    if not session.as_json:
        rows = [row if row["capacity"] else {**row, "free": None, "capacity": None} for row in rows]  # nobody knows
    print_table(session, rows, COLUMNS)
    zones = len({one.zone for one in found})
    down = [one.id for one in found if one.state == "down"]
    text = f"{counted(len(found), 'container')} in {counted(zones, 'zone')}"
    session.remark(f"{text}; down: {', '.join(down)}" if down else text)


@container.command()
@ID
@common
@pass_session
def show(session: Session, container_id: str) -> None:
    """Show all that is known about a container."""
    with session.connect() as client:
        print_facts(session, asdict(client.containers.get(container_id)))


@container.command()
@ID
@click.option("--zone", metavar="ZONE", help="Another site, room or rack.")
@click.option("--title", help="Another title.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="Its labels from now on, in the place of all.")
@click.option("--weight", metavar="W", type=float, help="How much more than others it is used.")
@click.option("--max-bytes", metavar="N", type=int, help="Fill it up to this and no more; 0: up to what there is.")
@click.option("--read-only/--writable", default=None, help="Whether it takes no new blobs.")
@click.option("--etag", "if_match", metavar="ETAG", help="Only if it is still at this etag, which `show` tells.")
@common
@pass_session
def edit(session: Session, /, container_id: str, labels: tuple[str, ...], **given: Any) -> None:
    """Change what is said of a container. What lies in it stays where it is; see `rebalance` and `repair`."""
    pairs = dict(_pair(label) for label in labels) if labels else None
    if pairs is None and not any(value is not None for name, value in given.items() if name != "if_match"):
        raise click.UsageError("nothing to change; give --zone, --title, --label, --weight, --max-bytes or --read-only")
    with session.connect() as client:
        changed = client.containers.update(container_id, labels=pairs, **given)
    if session.as_json:
        print_facts(session, asdict(changed))
    session.remark(f"{changed.id} is {changed.state}")


@container.command()
@ID
@DRY_RUN
@NO_WAIT
@common
@pass_session
def drain(session: Session, container_id: str, *, dry_run: bool, no_wait: bool) -> None:
    """Move everything off a container; it takes no new blobs from now on."""
    with session.connect() as client:
        _done(session, client.containers.drain(container_id, dry_run=dry_run), no_wait=no_wait)


@container.command()
@ID
@common
@pass_session
def undrain(session: Session, container_id: str) -> None:
    """Let a container take new blobs again."""
    with session.connect() as client:
        session.remark(f"{container_id} is {client.containers.undrain(container_id).state}")


@container.command()
@ID
@click.option("--force", is_flag=True, help="It is lost for good, with what it holds.")
@common
@pass_session
def rm(session: Session, container_id: str, *, force: bool) -> None:
    """Take a container out; one that holds parts must be drained before."""
    with session.connect() as client:
        client.containers.remove(container_id, force=force)
    session.remark(f"{container_id} is out; what is in it was not deleted")


@container.command()
@click.argument("containers", metavar="[NAME]…", nargs=-1)
@click.option("--verify", is_flag=True, help="Read and check every byte.")
@click.option("--collect-garbage", is_flag=True, help="Also delete parts that nothing names any more.")
@DRY_RUN
@NO_WAIT
@common
@pass_session
def repair(session: Session, /, containers: tuple[str, ...], *, dry_run: bool, no_wait: bool, **given: bool) -> None:
    """Look for missing and damaged parts, and make them good."""
    with session.connect() as client:
        _done(session, client.containers.repair(*containers, dry_run=dry_run, **given), no_wait=no_wait)


@container.command()
@click.argument("containers", metavar="[NAME]…", nargs=-1)
@common
@pass_session
def check(session: Session, containers: tuple[str, ...]) -> None:
    """Read every byte of every blob, and tell how many are safe, degraded, at risk or lost. Changes nothing.

    Exit codes: 0 none is at risk or lost, 1 some are.
    """
    with session.connect() as client:
        found = _followed(session, client.containers.repair(*containers, verify=True, dry_run=True))
    if session.as_json:
        print_facts(session, found)
    else:
        for line in told_of_blobs(found):
            click.echo(line)
    if found["at_risk_blobs"] or found["lost_blobs"]:
        raise click.exceptions.Exit(1)


@container.command()
@ID
@common
@pass_session
def probe(session: Session, container_id: str) -> None:
    """Try every verb on a container with a small blob."""
    with session.connect() as client:
        tried = client.containers.probe(container_id)
    print_table(session, [asdict(one) for one in tried], TRIED)
    if not all(one.ok for one in tried):
        raise click.exceptions.Exit(1)


@container.command()
@DRY_RUN
@NO_WAIT
@common
@pass_session
def rebalance(session: Session, *, dry_run: bool, no_wait: bool) -> None:
    """Even out how full the containers are."""
    with session.connect() as client:
        _done(session, client.containers.rebalance(dry_run=dry_run), no_wait=no_wait)


@container.command()
@click.argument("of", metavar="CATALOG[/DATASET]")
@DRY_RUN
@NO_WAIT
@common
@pass_session
def recode(session: Session, of: str, *, dry_run: bool, no_wait: bool) -> None:
    """Store anew what a catalog or dataset holds, under the policy that it has now."""
    catalog, _, dataset = of.partition("/")
    name = f"catalogs/{catalog}/datasets/{dataset}" if dataset else f"catalogs/{catalog}"
    with session.connect() as client:
        _done(session, client.containers.recode(name, dry_run=dry_run), no_wait=no_wait)


@container.command()
@click.argument("of", metavar="[CATALOG | CATALOG/DATASET/files/PATH]", default="")
@click.option("--storage", metavar="POLICY", help="Instead: where something new would go under this policy.")
@click.option("--size", metavar="BYTES", type=int, default=0, help="Of the new blob [1 MiB].")
@common
@pass_session
def explain(session: Session, of: str, storage: str | None, size: int) -> None:
    """Tell where the parts of a file are, or where those of a new blob would go, and why."""
    if not of and storage is None:
        raise click.UsageError("give a catalog, a file or --storage POLICY")
    with session.connect() as client:
        found = client.containers.explain(_resource(of) if of else None, storage=storage, size=size)
    if session.as_json:
        facts = {**asdict(found), "storage": str(found.storage), "problem": found.problem and str(found.problem)}
        print_facts(session, facts)
        return
    for line in explained(found):
        click.echo(line)
    if found.problem is not None:
        raise failure_of(found.problem)
    session.remark(f"{found.storage}: {found.data_parts} data and {found.parity_parts} parity parts")


def _done(session: Session, operation: Any, *, no_wait: bool) -> None:
    """Follow an operation to its end and show what came of it, or just say which it is."""
    if no_wait:
        print_facts(session, facts_of_operation(operation))
        return
    print_facts(session, _followed(session, operation))


def _followed(session: Session, operation: Any) -> dict[str, Any]:
    """Return what came of an operation, when it has ended."""
    if session.shows_progress:
        follow(session, operation)
    return dict(operation.result())


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--label {text}: write it as KEY=VALUE")
    return key, value


def _resource(of: str) -> str:
    catalog, _, rest = of.partition("/")
    if not rest:
        return f"catalogs/{catalog}"
    dataset, _, path = rest.partition("/")
    return f"catalogs/{catalog}/datasets/{dataset}/{path}"
