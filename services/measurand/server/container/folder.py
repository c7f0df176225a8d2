"""The folder of a container that a process serves: one process, one container, one deployment.

`container.json` holds the lease, by which the process takes up its registration when it is started again; `container`
and `deployment` are the marks that every container has which is a folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from measurand.server.config import ConfigError
from measurand.server.marks import mark_text, parse_mark
from measurand.wire.errors import FailedPrecondition, LeaseHeld

__all__ = ["Folder", "Membership"]

STATE = "container.json"
LOCK = "container.lock"
CONTAINER = "container"
DEPLOYMENT = "deployment"
_OURS = {STATE, LOCK}
_DRAFT = re.compile(rf"({re.escape(STATE)}|{CONTAINER}|{DEPLOYMENT})\.\d+")


@dataclass(frozen=True, slots=True)
class Membership:
    """What the process knows of its registration.

    Parameters
    ----------
    name : str
        The container's id.
    uid : str
        Of the registration; empty before the first.
    lease_id : str
        Proves that this is the one; a secret.
    request_id : str
        Of the first registration, whose answer may not have come.
    """

    name: str
    uid: str = ""
    lease_id: str = ""
    request_id: str = ""


class Folder:
    """An open folder; nobody else serves it until it is closed. Blocking."""

    def __init__(self, path: Path, lock: int, membership: Membership) -> None:
        self.path = path
        self._lock = lock
        self.membership = membership

    @classmethod
    def open(cls, path: Path, name: str) -> Folder:
        """Take a folder that is new or empty, or that was this container before.

        Raises
        ------
        ConfigError
            It cannot be used, holds other files, or is a container of another name.
        LeaseHeld
            Another process serves it.
        """
        try:
            path.parent.stat()  # nobody means a folder whose parent is not there: it is a slip, or is not mounted
            path.mkdir(mode=0o700, exist_ok=True)
            if not (path / STATE).exists() and {entry.name for entry in path.iterdir()} - _OURS:
                raise ConfigError(f"--data {path}: other files lie there; name an empty folder")
            lock = _locked(path)
        except OSError as error:
            raise ConfigError(f"--data {path}: {error.strerror}; name a folder that can be written to") from error
        folder = cls(path, lock, Membership(name))
        try:
            folder._begin(name)
        except BaseException:
            folder.close()
            raise
        return folder

    @property
    def deployment_id(self) -> str:
        """Whose blobs it holds; empty: nobody's yet."""
        path = self.path / DEPLOYMENT
        return parse_mark(path.read_text()).owner if path.exists() else ""

    def belong_to(self, deployment_id: str) -> None:
        """Take it for a deployment. Raises FailedPrecondition (STATE_WRONG) if it holds the blobs of another."""
        owner = self.deployment_id
        if owner and owner != deployment_id:
            raise FailedPrecondition(
                f"{self.path} holds blobs of deployment {owner}, and the server is of deployment {deployment_id}; "
                "name an empty folder with --data, or a server of that one with --of",
                resource=f"containers/{self.membership.name}",
                state="taken",
            )
        if not owner:
            _write(self.path / DEPLOYMENT, mark_text(deployment_id))

    def keep(self, **changes: str) -> None:
        """Note what has become of the registration."""
        self.membership = replace(self.membership, **changes)
        _write(self.path / STATE, json.dumps(asdict(self.membership)) + "\n")
        if self.membership.uid:
            _write(self.path / CONTAINER, f"{self.membership.uid}\n")

    def close(self) -> None:
        """Let others serve it."""
        os.close(self._lock)

    def _begin(self, name: str) -> None:
        for entry in self.path.iterdir():
            if _DRAFT.fullmatch(entry.name):
                entry.unlink()
        state = self.path / STATE
        if not state.exists():
            self.keep()
            return
        try:
            self.membership = Membership(**json.loads(state.read_text()))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{state} cannot be read ({error}); restore it from a copy") from error
        if self.membership.name != name:
            raise ConfigError(f"--name {name}: {self.path} is containers/{self.membership.name}; name another folder")


def _locked(path: Path) -> int:
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        raise LeaseHeld(
            f"LEASE_HELD: {path} is served by another process, which is alive (number {owner or 'unknown'}); stop that "
            "one, or name another folder",
            resource=str(path),
            owner=owner,
        ) from None
    except OSError:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _write(path: Path, text: str) -> None:
    """Write a file that only this user can read, so that it survives a loss of power as the old one or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
