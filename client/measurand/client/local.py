"""Files and folders of this machine: what is sent of them, and where what comes may be written."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath

from measurand.wire.errors import InvalidArgument

__all__ = ["Entry", "attributes_of", "local_path", "mtime_of", "restore_attributes", "scan"]

SECOND = 1_000_000_000
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?Z")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)( *)(\..*)?")
_FORBIDDEN_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]')


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a folder that is sent.

    Parameters
    ----------
    path : Path
        Where it is.
    name : str
        Its path below the folder, with `/` on every system.
    size, mtime_ns, mode : int
        What it was when the folder was looked through.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int
    mode: int


def scan(folder: Path) -> list[Entry]:
    """Return the files of a folder and of the folders in it, by name.

    Symbolic links are followed as long as they stay within the folder.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is no folder, or has a link that leads out of it, a link in a circle, or something that is
        neither file nor folder; nothing has been sent.
    """
    if not folder.is_dir():
        raise InvalidArgument(f"{folder} is no folder; use upload for a file", field="folder")
    root = folder.resolve()
    return sorted(_walk(root, root, (), frozenset({root})), key=lambda entry: entry.name)


def attributes_of(mtime_ns: int, mode: int) -> dict[str, str]:
    """Return what is kept of a file beside its bytes: its time in nanoseconds, and its mode."""
    seconds, nanoseconds = divmod(mtime_ns, SECOND)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {"mtime": f"{moment}.{nanoseconds:09d}Z", "mode": f"{mode & 0o7777:04o}"}


def mtime_of(attributes: Mapping[str, str]) -> int | None:
    """Return the time in the attributes in nanoseconds since 1970, or None."""
    match = _TIME.fullmatch(attributes.get("mtime", ""))
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * SECOND + int((match[2] or "0").ljust(9, "0"))


def restore_attributes(path: Path, attributes: Mapping[str, str]) -> None:
    """Give a file the mode and the time that were kept, as far as the system can."""
    mode = attributes.get("mode", "")
    if re.fullmatch(r"0?[0-7]{3,4}", mode):
        with contextlib.suppress(OSError):
            path.chmod(int(mode, 8) & 0o777)  # no set-user-id from a store
    mtime_ns = mtime_of(attributes)
    if mtime_ns is not None:
        with contextlib.suppress(OSError, OverflowError):
            os.utime(path, ns=(mtime_ns, mtime_ns))


def local_path(folder: Path, name: str, *, is_windows: bool = os.name == "nt", inside: set[Path] | None = None) -> Path:
    """Return where below the folder a file of the store belongs.

    Parameters
    ----------
    folder : Path
        The target, resolved.
    name : str
        The path in the store.
    is_windows : bool
        Judge by the rules of Windows as well.
    inside : set of Path, optional
        Folders that are known to lie within the folder; what is found is added.

    Raises
    ------
    ValueError
        The name leads out of the folder on some system, or cannot be a file here; the text says why.
    """
    parts = name.split("/")
    on_windows = PureWindowsPath(name)
    if not name or "\x00" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError("it has an empty segment, `.` or `..`")
    if on_windows.drive or on_windows.root or ".." in on_windows.parts:
        raise ValueError("on Windows it leads out of the folder")
    if is_windows:
        for part in parts:
            if _FORBIDDEN_ON_WINDOWS.search(part):
                raise ValueError(f"Windows allows no such character in {part!r}")
            if _RESERVED.fullmatch(part):
                raise ValueError(f"{part!r} is the name of a device on Windows")
            if part[-1] in ". ":
                raise ValueError(f"Windows drops the end of {part!r}")
    path = folder.joinpath(*parts)
    # A link that lies in the folder already may lead elsewhere.
    if inside is None or path.parent not in inside:
        if not path.parent.resolve().is_relative_to(folder):
            raise ValueError("a link in the folder leads out of it")
        if inside is not None:
            inside.add(path.parent)
    return path


def _walk(folder: Path, root: Path, prefix: tuple[str, ...], above: frozenset[Path]) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for item in found:
            path = Path(item.path)
            parts = (*prefix, item.name)
            name = "/".join(parts)
            if item.is_symlink():
                real = path.resolve()
                if not real.is_relative_to(root):
                    raise InvalidArgument(f"{path} is a link that leads out of {root}; remove it", field="folder")
                if real in above:
                    raise InvalidArgument(f"{path} is a link to a folder that it lies in; remove it", field="folder")
                if not real.exists():
                    raise InvalidArgument(f"{path} is a link to nothing; remove it", field="folder")
            about = item.stat()
            if stat.S_ISDIR(about.st_mode):
                yield from _walk(path, root, parts, above | {path.resolve()})
            elif stat.S_ISREG(about.st_mode):
                yield Entry(path, name, about.st_size, about.st_mtime_ns, about.st_mode & 0o7777)
            else:
                raise InvalidArgument(f"{path} is neither a file nor a folder; remove it", field="folder")
