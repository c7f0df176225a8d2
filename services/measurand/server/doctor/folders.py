"""The folders that embedded stores lie in: whose they are, on what disk, and how much room is left."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from pwd import getpwuid

from measurand.server.doctor.findings import Report
from measurand.server.folder import FORMAT

__all__ = ["check_disk", "check_folder", "check_format", "note_room"]

GB = 10**9
LEAST_FREE_BYTES = 2 * GB
LEAST_FREE_SHARE = 0.02
OVER_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "lustre")


def check_folder(report: Report, folder: Path) -> bool:
    """See whose the folder is, and tell whether it is safe to write in it."""
    try:
        facts = folder.stat()
    except OSError as error:
        advice = f"name the folder with --data, or make it: `measurand serve --data {folder}`"
        report.fail("folder", f"{folder}: {error.strerror}", advice)
        return False
    if not stat.S_ISDIR(facts.st_mode):
        report.fail("folder", f"{folder} is no folder", "name the folder with --data")
        return False
    if facts.st_uid != os.geteuid():
        owner = _name_of(facts.st_uid)
        message = f"{folder} belongs to {owner}, and this is {_name_of(os.geteuid())}: files made now could be"
        report.fail("folder", f"{message} out of the server's reach", f"run it as {owner}")
        return False
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        report.fail("folder", f"{folder} cannot be written to", f"`chmod u+rwx {folder}`, or mount it for writing")
        return False
    if kind := _network_kind(folder):
        message = f"{folder} lies on a network file system ({kind}), whose locks do not hold what SQLite counts on"
        report.fail("folder", message, "move it to a local disk; for several machines use MongoDB and S3")
        return False
    if facts.st_mode & 0o077:
        mode = stat.filemode(facts.st_mode)
        report.warn("folder", f"{folder} can be entered by others ({mode})", f"`chmod go-rwx {folder}`")
    else:
        report.ok("folder", f"{folder} is this user's alone")
    return True


def check_format(report: Report, folder: Path) -> bool:
    """See whether this release knows the format of a data folder."""
    mark = folder / "format"
    text = mark.read_text().strip() if mark.exists() else ""
    if text.isdecimal() and int(text) <= FORMAT:
        report.ok("format", f"{folder} has format {text}")
        return True
    if text:
        message = f"{folder} has format {text[:20]!r}, and this release reads formats up to {FORMAT}"
        report.fail("format", message, "install the newer release that made it")
    else:
        advice = "name another folder with --data, or start a server over this one first"
        report.fail("format", f"{folder} is no data folder: there is no file `format` in it", advice)
    return False


def check_disk(report: Report, what: str, folder: Path) -> None:
    """See that there is room."""
    try:
        disk = shutil.disk_usage(folder)
    except OSError as error:
        report.warn(f"{what}: room", f"{folder}: {error.strerror}", "see that the disk is there")
        return
    note_room(report, f"{what}: room", disk.free, disk.total)


def note_room(report: Report, check: str, free: int, total: int) -> None:
    """Tell how much room is left."""
    text = f"{free / GB:.1f} GB of {total / GB:.1f} GB are free"
    if free < max(LEAST_FREE_BYTES, LEAST_FREE_SHARE * total):
        report.warn(check, f"{text}; a full store takes no more writes", "free some space, or add some")
    else:
        report.ok(check, text)


def _network_kind(folder: Path) -> str:
    """Return the kind of the file system that a folder lies on if it is one over the network; where that is known."""
    place = os.fspath(folder.resolve())
    found = max(
        ((point, kind) for point, kind in _mounts() if place == point or place.startswith(point.rstrip("/") + "/")),
        key=lambda mount: len(mount[0]),
        default=("", ""),
    )
    return found[1] if found[1] in OVER_NETWORK else ""


def _mounts() -> Iterator[tuple[str, str]]:
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, point, kind, *_ = line.split()
        yield point.encode().decode("unicode_escape"), kind


def _name_of(uid: int) -> str:
    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
