"""`measurand migrate`. Everything else is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from measurand.server.options import settings_of, stores_options

if TYPE_CHECKING:
    from measurand.server.config import Config

__all__ = ["command"]


@click.command(name="migrate")
@stores_options
def command(*, config: Path | None, **flags: Any) -> None:
    """Bring a store of an older release up to this one. Stop its servers first, and make a copy of it."""
    settings = settings_of(flags, config)
    from measurand.server.config import ConfigError
    from measurand.server.moving.ending import run

    async def tell() -> None:
        async for line in _migrate(settings):
            click.echo(line)

    try:
        run(tell())
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


async def _migrate(settings: Config) -> AsyncIterator[str]:
    """Do it, and yield what was done."""
    from measurand.core.deployments import FORMAT, fetch_deployment
    from measurand.core.migrating import migrate
    from measurand.server.config import ConfigError
    from measurand.server.folder import open_folder
    from measurand.server.marks import parse_mark, read_mark, write_mark
    from measurand.server.moving.opening import opening
    from measurand.server.moving.serving import is_served

    documents, blobs = settings.documents_place, settings.blobs_place
    if documents.path is not None and not documents.path.exists():
        raise ConfigError(f"{documents}: there is no such store")
    if settings.uses_folder:
        open_folder(settings.data)
    async with opening() as stores:
        store = await stores.documents(documents)
        if await is_served(documents, blobs, store, settings.data if settings.uses_folder else None):
            raise ConfigError(f"{documents}: a server stands on this store; stop it, and run this again")
        for step, changed in await migrate(store):
            yield f"documents: format {step.to}: {step.what}; {changed:,} documents changed"
        deployment = await fetch_deployment(store)
        text = await read_mark(blobs)
        if text is not None and deployment is not None:
            mark = parse_mark(text)
            if mark.owner == deployment.id and mark.format < FORMAT:
                await write_mark(blobs, mark.owner)
                yield f"blobs: format {FORMAT}: their mark has the number"
    yield f"the store has format {FORMAT}"
