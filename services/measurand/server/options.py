"""The options that say which stores a command works on: the same words for all commands of the server's side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from measurand.server.config import Config

__all__ = ["settings_of", "stores_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

DOCUMENTS_HELP = "sqlite:///FOLDER/FILE, mongodb://HOST/DATABASE or memory: [a file in the data folder]."
BLOBS_HELP = "file:///FOLDER, s3://BUCKET/PREFIX?endpoint=URL or memory: [a folder in the data folder]."


def stores_options(command: Command) -> Command:
    """Add `--data`, `--config`, `--documents` and `--blobs` to a command."""
    folder, file = click.Path(path_type=Path), click.Path(path_type=Path)
    for option in reversed(
        [
            click.option("--data", metavar="DIR", type=folder, help="Where everything is kept."),
            click.option("--config", metavar="FILE", type=file, help="A measurand.toml with more settings."),
            click.option("--documents", metavar="URL", help=DOCUMENTS_HELP),
            click.option("--blobs", metavar="URL", help=BLOBS_HELP),
        ]
    ):
        command = option(command)
    return command


def settings_of(flags: Mapping[str, Any], file: Path | None) -> Config:
    """Return the settings that flags, the environment and a file make together, or end with what is wrong."""
    from measurand.server.config import ConfigError, load

    try:
        return load(flags, file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
