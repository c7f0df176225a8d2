"""The mark of a blob store: whose blobs these are, and in which format. In a folder it is a file, in S3 an object."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from measurand.core.deployments import FORMAT, check_format
from measurand.server.config import ConfigError, Place
from measurand.server.folder import write_whole

__all__ = ["BACKUPS", "Mark", "check_mark", "mark_text", "parse_mark", "read_mark", "write_mark"]

BACKUPS = "backups"
"""The owner of a place that holds backups, in the place of the id of a deployment."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a mark says.

    Parameters
    ----------
    owner : str
        The id of the deployment whose documents name the blobs, or `BACKUPS`.
    format : int
        0: from before formats had numbers.
    """

    owner: str
    format: int


def mark_text(owner: str) -> str:
    """Return the mark that this release makes."""
    return f"{owner}\nformat {FORMAT}\n"


def parse_mark(text: str) -> Mark:
    """Return what a mark says."""
    owner, _, rest = text.strip().partition("\n")
    number = rest.removeprefix("format ").strip()
    return Mark(owner, int(number) if number.isdecimal() else 0)


def check_mark(place: Place, text: str, owner: str) -> None:
    """Refuse the blobs of another document store: here nobody names them, so they would be collected as garbage.

    Raises
    ------
    ConfigError
        They are of another one, or backups.
    FailedPrecondition
        STATE_WRONG: they are of another format.
    """
    mark = parse_mark(text)
    if mark.owner == BACKUPS != owner:
        raise ConfigError(f"{place}: backups are kept here, which no server serves; name another place for blobs")
    if owner == BACKUPS != mark.owner:
        raise ConfigError(f"{place}: these are the blobs of deployment {mark.owner}; name another place for backups")
    if mark.owner != owner:
        raise ConfigError(
            f"--blobs {place}: these are the blobs of another document store (deployment {mark.owner}); name that one "
            "with --documents, or another place for blobs"
        )
    check_format("the blobs have", mark.format)


async def read_mark(place: Place) -> str | None:
    """Return the mark of a place, or None if it has none."""
    return await _READ[place.kind](place)


async def write_mark(place: Place, owner: str) -> None:
    """Mark a place anew."""
    await _WRITE[place.kind](place, mark_text(owner))


async def _read_memory(_: Place) -> str | None:
    return None


async def _write_memory(_: Place, _text: str) -> None:
    pass


async def _read_folder(place: Place) -> str | None:
    path = _path_of(place)
    return path.read_text() if path.exists() else None


async def _write_folder(place: Place, text: str) -> None:
    write_whole(_path_of(place), text)


async def _read_bucket(place: Place) -> str | None:
    from measurand.storage.blobs.s3.features import owner_of
    from measurand.storage.blobs.s3.location import parse_location

    return await asyncio.to_thread(owner_of, parse_location(place.url)) or None


async def _write_bucket(place: Place, text: str) -> None:
    from measurand.storage.blobs.s3.features import make_owner
    from measurand.storage.blobs.s3.location import parse_location

    await asyncio.to_thread(make_owner, parse_location(place.url), text)


def _path_of(place: Place) -> Path:
    assert place.path is not None
    return place.path / "deployment"


_READ: Mapping[str, Callable[[Place], Awaitable[str | None]]] = {
    "memory": _read_memory,
    "file": _read_folder,
    "s3": _read_bucket,
}
_WRITE: Mapping[str, Callable[[Place, str], Awaitable[None]]] = {
    "memory": _write_memory,
    "file": _write_folder,
    "s3": _write_bucket,
}
