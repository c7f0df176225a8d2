"""`measurand restore`. Everything else is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from measurand.server.moving.backup import moment_of, place_of
from measurand.server.options import settings_of, stores_options

if TYPE_CHECKING:
    from measurand.core.moving.damages import Damage
    from measurand.core.moving.manifests import Manifest
    from measurand.server.config import Config, Place

__all__ = ["command"]


@click.command(name="restore")
@click.argument("source")
@stores_options
@click.option("--backup", "backup_id", metavar="ID", help="Which one [the newest].")
@click.option("--list", "is_list", is_flag=True, help="Only say which backups there are.")
def command(*, source: str, config: Path | None, backup_id: str | None, is_list: bool, **flags: Any) -> None:
    """Fill an empty store from a backup. SOURCE is what was the TARGET of `measurand backup`.

    The new store is a deployment of its own; the old one, if it is still there, can go on being served. No server opens
    the new one before it is whole. A run that was killed is run again, and goes on.
    """
    settings = settings_of(flags, config)
    from measurand.server.config import ConfigError
    from measurand.server.moving.ending import run
    from measurand.server.moving.telling import tell_damages

    place = place_of(source)
    try:
        if is_list:
            for manifest in run(_list(place)):
                click.echo(f"{manifest.id}  {moment_of(manifest)}")
            return
        manifest, damaged = run(_restore(settings, place, backup_id))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    count = sum(section.count for section in manifest.documents.values())
    click.echo(f"restored backup {manifest.id}: {count:,} documents, {manifest.blobs.count:,} blobs")
    click.echo(moment_of(manifest))
    if damaged:
        tell_damages(damaged)
        raise click.ClickException(
            f"{len(damaged):,} files or chunks cannot be read; all else is restored and can be served"
        )


async def _list(place: Place) -> list[Manifest]:
    from measurand.core.moving.manifests import list_backups
    from measurand.server.moving.opening import opening

    async with opening() as stores:
        return list(await list_backups(await stores.backups(place, may_be_new=False)))


async def _restore(settings: Config, place: Place, backup_id: str | None) -> tuple[Manifest, list[Damage]]:
    from dataclasses import replace

    from measurand.core.deployments import keep_deployment
    from measurand.core.moving.manifests import list_backups
    from measurand.core.moving.restoring import restore
    from measurand.core.moving.tally import Tally
    from measurand.server.config import ConfigError
    from measurand.server.folder import open_folder
    from measurand.server.moving.opening import opening
    from measurand.server.moving.telling import telling

    tally = Tally()
    async with opening() as stores:
        backups = await stores.backups(place, may_be_new=False)
        there = await list_backups(backups)
        chosen = [manifest for manifest in there if backup_id in (None, manifest.id)]
        if not chosen:
            known = ", ".join(manifest.id for manifest in there) or "none"
            raise ConfigError(f"{place}: there is no backup {backup_id or ''}; there are: {known}")
        manifest = chosen[-1]
        if settings.uses_folder:
            open_folder(settings.data)
        target = await stores.target(settings.documents_place, settings.blobs_place, f"restore of backup {manifest.id}")
        async with telling(tally):
            swept = await restore(
                backups, manifest, target.documents, target.blobs, stores.means, settings.limits.make(), tally
            )
            await keep_deployment(target.documents, replace(target.deployment, unfinished=""))
    return manifest, list(swept.damaged.values())
