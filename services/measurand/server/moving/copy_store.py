"""`measurand copy-store`. Everything else is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from measurand.core.moving.damages import Damage
    from measurand.core.moving.tally import Tally
    from measurand.server.config import Config

__all__ = ["command"]

FOLDER = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has come to. The copy is whole if it `is_last` and nothing is damaged."""

    is_last: bool
    damaged: Sequence[Damage]
    tally: Tally


@click.command(name="copy-store")
@click.option("--from-data", metavar="DIR", type=FOLDER, help="The data folder to copy.")
@click.option("--from-documents", metavar="URL", help="The documents to copy [those in the data folder].")
@click.option("--from-blobs", metavar="URL", help="The blobs to copy [those in the data folder].")
@click.option("--to-data", metavar="DIR", type=FOLDER, help="The data folder to make.")
@click.option("--to-documents", metavar="URL", help="Where the documents go [into the data folder].")
@click.option("--to-blobs", metavar="URL", help="Where the blobs go [into the data folder].")
def command(**flags: Any) -> None:
    """Copy a store to another one, such as a folder to MongoDB and S3.

    Run it while the store is served, as often as you like; then stop the servers and run it once more. That run makes
    the copy whole, and servers open it from then on. A run that was killed is run again, and goes on.
    """
    from measurand.server.config import ConfigError
    from measurand.server.moving.ending import run
    from measurand.server.moving.telling import size_text, tell_damages

    source, target = _settings(flags, "from"), _settings(flags, "to")
    try:
        outcome = run(_copy(source, target))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    tally = outcome.tally
    click.echo(
        f"looked at {tally.documents:,} documents and wrote {tally.written:,}; "
        f"copied {tally.copied:,} blobs ({size_text(tally.copied_bytes)})"
    )
    if outcome.damaged:
        tell_damages(outcome.damaged)
        raise click.ClickException(
            f"{len(outcome.damaged):,} files or chunks are damaged in the source, so the copy is not whole; restore "
            "or delete them there, and run this again"
        )
    if outcome.is_last:
        click.echo(
            f"the copy is whole; serve it with --documents {target.documents_place} --blobs {target.blobs_place}"
        )
    else:
        click.echo("the source is being served; stop its servers and run this again to make the copy whole")


def _settings(flags: dict[str, Any], side: str) -> Config:
    """Return where one side is, or end with what is wrong."""
    from measurand.server.config import BLOB_KINDS, DOCUMENT_KINDS, Config, parse_place

    data, documents, blobs = (flags[f"{side}_{name}"] for name in ("data", "documents", "blobs"))
    if data is None and (documents is None or blobs is None):
        raise click.UsageError(f"name --{side}-data, or both --{side}-documents and --{side}-blobs")
    places: dict[str, Any] = {} if data is None else {"data": data.expanduser().absolute()}
    for name, value, kinds in (("documents", documents, DOCUMENT_KINDS), ("blobs", blobs, BLOB_KINDS)):
        if value is not None:
            try:
                places[name] = parse_place(value, *kinds)
            except ValueError as error:
                raise click.UsageError(f"--{side}-{name}: {error}") from error
    return Config.model_construct(**places)


async def _copy(source: Config, target: Config) -> Outcome:
    from dataclasses import replace

    from measurand.core.deployments import keep_deployment
    from measurand.core.limits import Limits
    from measurand.core.moving.relocating import relocate
    from measurand.core.moving.tally import Tally
    from measurand.server.config import ConfigError
    from measurand.server.folder import open_folder
    from measurand.server.moving.opening import opening
    from measurand.server.moving.serving import is_served
    from measurand.server.moving.telling import telling

    tally = Tally()
    async with opening() as stores:
        old = await stores.source(source.documents_place, source.blobs_place)
        if target.uses_folder:
            open_folder(target.data)
        new = await stores.target(target.documents_place, target.blobs_place, f"copy of {old.deployment.id}")
        is_last = not await is_served(source.documents_place, source.blobs_place, old.documents)
        async with telling(tally):
            relocation = await relocate(
                old.documents,
                old.blobs,
                new.documents,
                new.blobs,
                stores.means,
                Limits(),
                tally,
                is_last=is_last,
            )
            if is_last and await is_served(source.documents_place, source.blobs_place, old.documents):
                raise ConfigError(f"{source.documents_place}: a server was started on it; stop it, and run this again")
            if is_last and not relocation.damaged:
                await keep_deployment(new.documents, replace(new.deployment, unfinished=""))
    return Outcome(is_last, relocation.damaged, tally)
