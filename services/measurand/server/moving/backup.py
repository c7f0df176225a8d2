"""`measurand backup`. Everything else is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from measurand.server.options import settings_of, stores_options

if TYPE_CHECKING:
    from measurand.core.moving.manifests import Manifest
    from measurand.server.config import Config, Place

__all__ = ["command", "place_of"]


@click.command(name="backup")
@click.argument("target")
@stores_options
@click.option("--keep", metavar="N", type=click.IntRange(min=1), help="Remove all but the newest N backups [keep all].")
def command(*, target: str, config: Path | None, keep: int | None, **flags: Any) -> None:
    """Back a store up while it is served. TARGET is a folder, file:///FOLDER or s3://BUCKET/PREFIX?endpoint=URL.

    Each run adds a backup; what files and arrays hold is copied once for all of them. A run that was killed is run
    again.
    """
    settings = settings_of(flags, config)
    from measurand.server.config import ConfigError
    from measurand.server.moving.ending import run
    from measurand.server.moving.telling import size_text, tell_damages

    place = place_of(target)
    try:
        manifest, gone = run(_back_up(settings, place, keep))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    for old in gone:
        click.echo(f"removed backup {old.id}")
    count = sum(section.count for section in manifest.documents.values())
    click.echo(
        f"backup {manifest.id}: {count:,} documents, {manifest.blobs.count:,} blobs ({size_text(manifest.blob_bytes)})"
    )
    click.echo(moment_of(manifest))
    if manifest.damaged:
        tell_damages(manifest.damaged)
        raise click.ClickException(
            f"{len(manifest.damaged):,} files or chunks are damaged in the store; the rest is backed up"
        )


def place_of(target: str) -> Place:
    """Return the place of backups that was named, or end with what is wrong."""
    from measurand.server.config import Place, parse_place

    if "://" not in target:
        return Place("file", Path(target).expanduser().absolute())
    try:
        return parse_place(target, "file", "s3")
    except ValueError as error:
        raise click.UsageError(f"TARGET: {error}") from error


def moment_of(manifest: Manifest) -> str:
    """Return in words from when a backup is."""
    first = f"{manifest.cut.first:%Y-%m-%d %H:%M:%S} UTC"
    if manifest.cut.is_exact:
        return f"the store as it was on {first}"
    milliseconds = (manifest.cut.last - manifest.cut.first).total_seconds() * 1000
    return f"the store as it was on {first}, and within {milliseconds:,.0f} ms after it"


async def _back_up(settings: Config, place: Place, keep: int | None) -> tuple[Manifest, list[Manifest]]:
    import tempfile

    from measurand.core.moving.backup import make_backup
    from measurand.core.moving.manifests import list_backups
    from measurand.core.moving.pruning import prune
    from measurand.core.moving.tally import Tally
    from measurand.server.config import ConfigError, Place
    from measurand.server.moving.one_at_a_time import alone
    from measurand.server.moving.opening import opening
    from measurand.server.moving.telling import telling

    tally = Tally()
    # Around all that is opened in it: it goes last.
    with tempfile.TemporaryDirectory(prefix="measurand-backup-") as folder:
        async with opening() as stores:
            source = await stores.source(settings.documents_place, settings.blobs_place)
            target = await stores.backups(place, may_be_new=True)
            working, kept = [
                await stores.documents(Place("sqlite", Path(folder) / f"{name}.sqlite")) for name in ("working", "kept")
            ]
            async with alone(source.documents, stores.means, "backup") as lease, telling(tally):
                for other in await list_backups(target):
                    if other.deployment != source.deployment.id:
                        raise ConfigError(
                            f"{place}: there are backups of deployment {other.deployment} here, and this is "
                            f"{source.deployment.id}; name another place"
                        )
                manifest = await make_backup(
                    source.documents,
                    source.blobs,
                    working,
                    target,
                    stores.means,
                    tally,
                    deployment=source.deployment.id,
                )
                gone: list[Manifest] = []
                if keep is not None:
                    if not await lease.try_hold():  # else it could remove what another run counts on
                        raise ConfigError(f"{place}: backup {manifest.id} is made, but another run has begun meanwhile")
                    gone = await prune(target, kept, keep=keep)
    return manifest, gone
