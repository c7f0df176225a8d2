"""`registry put|get|ls|rm|watch`: who serves what, where, and until when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from measurand.cli.output import cell, print_facts, print_json, print_table
from measurand.cli.pairs import document_of, merged, read_file
from measurand.cli.session import Session, common, pass_session
from measurand.cli.status import failure_of

if TYPE_CHECKING:
    from measurand.client import Client, Lease, Registration

__all__ = ["registry"]

COLUMNS = ("kind", "name", "endpoint", "epoch", "owner", "renewed", "expires")
LOOK_SECONDS = 0.2
WAIT_SECONDS = 1.0
NOWHERE = "-"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name of the registry as it is typed."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class EntryType(click.ParamType[Entry]):
    """KIND/NAME; its resource name and `measurand://KIND/NAME` do as well."""

    name = "KIND/NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Entry:
        if isinstance(value, Entry):
            return value
        text = str(value).removeprefix("measurand://").removeprefix("registry/").replace("/registrations/", "/")
        kind, _, name = text.partition("/")
        if not kind or not name or "/" in name:
            self.fail(f"{value!r} names no entry; write KIND/NAME, as in gateway/site-a", param, ctx)
        return Entry(kind, name)


ENTRY = EntryType()


@click.group(no_args_is_help=True, short_help="Who serves what, where, and until when.")
def registry() -> None:
    """Who serves what, where, and until when: entries that live while their owner does.

    \b
    measurand registry put gateway/site-a grpc://host:50051 -- run-gateway
    measurand registry get gateway/site-a
    measurand --url measurand://gateway/site-a ls
    """  # noqa: D301  # click reads the \b


@registry.command()
@click.argument("entry", metavar="KIND/NAME", type=ENTRY)
@click.argument("endpoint", metavar="[URL]", default=NOWHERE)
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--ttl", metavar="TIME", default="30s", show_default=True, help="How long it outlives this command.")
@click.option("--stay", is_flag=True, help="Register it until `rm`, and return at once.")
@click.option("--also", metavar="URL", multiple=True, help="Another way to the same; repeat it.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="To filter by.")
@click.option("--meta", "pairs", metavar="KEY=VALUE", multiple=True, help="What others should know.")
@click.option("--meta-file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--take-over", is_flag=True, help="End the lease of an earlier run.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Wait so long for whoever holds the name.",
)
@common
@pass_session
def put(
    session: Session,
    entry: Entry,
    endpoint: str,
    command: tuple[str, ...],
    ttl: str,
    also: tuple[str, ...],
    labels: tuple[str, ...],
    pairs: tuple[str, ...],
    meta_file: Path | None,
    wait: float,
    *,
    stay: bool,
    take_over: bool,
) -> None:
    """Hold an entry while this command runs, or COMMAND does; then it is gone.

    URL is where something is served, such as grpc://host:50051; `-` where nothing is.
    COMMAND finds the epoch of the lease in MEASURAND_EPOCH. Its exit code is that of this command.
    """
    said: dict[str, Any] = {
        "metadata": merged(read_file(meta_file) if meta_file else {}, document_of(pairs)),
        "labels": labels_of(labels),
        "other_endpoints": also,
    }
    endpoint = "" if endpoint == NOWHERE else endpoint
    if stay and command:
        raise click.UsageError("--stay returns at once; leave it out to keep the entry while a command runs")
    with session.connect() as client:
        if stay:
            print_entry(session, client.registry.put(entry.kind, entry.name, endpoint, **said))
            session.remark(f"{entry} stays until `measurand registry rm {entry}`")
            return
        code = hold(
            session, client, entry, endpoint, command, wait, {**said, "ttl": ttl_of(ttl), "take_over": take_over}
        )
    if code:
        sys.exit(code)


@registry.command()
@click.argument("entry", metavar="KIND/NAME", type=ENTRY)
@common
@pass_session
def get(session: Session, entry: Entry) -> None:
    """Show what is registered under a name."""
    with session.connect() as client:
        print_facts(session, facts_of(client.registry.get(entry.kind, entry.name)))


@registry.command()
@click.argument("kind", metavar="[KIND]", default="-")
@click.argument("filter_text", metavar="[FILTER]", default="")
@common
@pass_session
def ls(session: Session, kind: str, filter_text: str) -> None:
    """List what is registered of a kind, or of all kinds.

    FILTER is over id, kind, endpoint, labels, owner and the metadata.
    """
    with session.connect() as client:
        rows = [facts_of(found) for found in client.registry.list(kind, filter=filter_text)]
    print_table(session, rows, COLUMNS)


@registry.command()
@click.argument("entry", metavar="KIND/NAME", type=ENTRY)
@common
@pass_session
def rm(session: Session, entry: Entry) -> None:
    """End an entry of yours, whoever renews it."""
    with session.connect() as client:
        client.registry.get(entry.kind, entry.name)  # a slip in the name is told
        client.registry.release(entry.kind, entry.name)
    session.remark(f"{entry} is gone")


@registry.command()
@click.argument("kind", metavar="[KIND]", default="-")
@click.option("--existing", is_flag=True, help="First what is registered now.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="End after so many changes.")
@click.option("--resume", metavar="TOKEN", default="", help="Go on after this change; --json tells the tokens.")
@common
@pass_session
def watch(session: Session, kind: str, limit: int | None, resume: str, *, existing: bool) -> None:
    """Show what comes, changes and goes, one a line; end with Ctrl-C."""
    with session.connect() as client:
        changes = client.registry.watch(kind, include_existing=existing, resume=resume)
        session.remark("watching the registry; end with Ctrl-C")
        try:
            for number, change in enumerate(changes, 1):
                found = change.registration
                if session.as_json:
                    said = {"kind": change.kind, "registration": facts_of(found), "resume_token": change.resume_token}
                    print_json(said)
                else:
                    parts = (cell(found.renewed), change.kind, f"{found.kind}/{found.name}", cell(found.endpoint))
                    click.echo("  ".join(parts).rstrip())
                    sys.stdout.flush()
                if number == limit:
                    return
        except KeyboardInterrupt:  # how it is meant to end
            return
        finally:
            changes.close()


def hold(
    session: Session,
    client: Client,
    entry: Entry,
    endpoint: str,
    command: Sequence[str],
    wait: float,
    said: dict[str, Any],
) -> int:
    """Hold an entry until the command has ended, or this one is asked to; return the exit code."""
    lease = client.registry.register(entry.kind, entry.name, endpoint, **said)
    with ending_politely(), held(session, entry, lease, wait):
        try:
            if session.as_json or not command:
                print_entry(session, lease.registration)
            if command:
                return run(command, lease)
            session.remark(f"{entry} is held; end with Ctrl-C")
            while lease.is_held:
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:  # how it is meant to end
            return 0
    assert lease.failure is not None
    raise failure_of(lease.failure, "this command has ended, for others hold the entry now")


def run(command: Sequence[str], lease: Lease) -> int:
    """Run a command to its end, and return its exit code as a shell would."""
    environment = {**os.environ, "MEASURAND_EPOCH": str(lease.epoch)}
    with subprocess.Popen(list(command), env=environment) as child:  # noqa: S603  # what the user typed
        while True:
            try:
                code = child.wait()
            except KeyboardInterrupt:  # by Ctrl-C it has heard of it itself
                child.terminate()
                continue
            return code if code >= 0 else 128 - code


@contextmanager
def held(session: Session, entry: Entry, lease: Lease, wait: float) -> Iterator[None]:
    """Hold a lease for the block, after waiting so many seconds for whoever holds the name."""
    from measurand.wire.errors import LeaseHeld

    end = time.monotonic() + wait
    with ExitStack() as ending:
        while True:
            try:
                ending.enter_context(lease)
                break
            except LeaseHeld as error:
                left = end - time.monotonic()
                if left <= 0:
                    raise
                session.remark(f"{entry} is held by {error.details.get('owner')}; waiting for {left:.0f} s")
            time.sleep(min(WAIT_SECONDS, left))
        yield


@contextmanager
def ending_politely() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, so that the entry is given up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def labels_of(pairs: Sequence[str]) -> dict[str, str]:
    """Return labels as they are typed."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r} is no label; write KEY=VALUE")
        labels[key] = value
    return labels


def ttl_of(text: str) -> float | str:
    """Return a time as it is typed: seconds, or a text such as 5min."""
    try:
        return float(text)
    except ValueError:
        return text


def print_entry(session: Session, registration: Registration) -> None:
    """Tell programs what is registered; people have typed it."""
    if session.as_json:
        print_json(facts_of(registration))


def facts_of(registration: Registration) -> dict[str, Any]:
    """Return what is known of an entry; metadata as Extended JSON."""
    from measurand.client.values import to_text

    return {
        "kind": registration.kind,
        "name": registration.name,
        "endpoint": registration.endpoint,
        "other_endpoints": list(registration.other_endpoints),
        "labels": registration.labels,
        "owner": registration.owner,
        "epoch": registration.epoch,
        "etag": registration.etag,
        "ttl": registration.ttl,
        "created": registration.created,
        "renewed": registration.renewed,
        "expires": registration.expires,
        "metadata": json.loads(to_text(registration.metadata)),
    }
