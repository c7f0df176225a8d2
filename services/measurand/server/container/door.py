"""Who may call a container: servers of its own deployment that mean its own registration."""

from __future__ import annotations

from measurand.core.containers.documents import State
from measurand.core.ports import BlobStore
from measurand.wire.errors import FailedPrecondition, PermissionDenied, Unavailable

__all__ = ["ContainerDoor"]

PROBES = "probes/"
"""Keys by which servers try a container out, whatever state it is in."""


class ContainerDoor:
    """A `Door`. Closed until it is told what lies behind it."""

    def __init__(self, name: str) -> None:
        self._name = f"containers/{name}"
        self._store: BlobStore | None = None
        self._deployment_id = ""
        self._uid = ""
        self.state: State = "active"
        """What the server last said that the container is to be."""

    @property
    def is_open(self) -> bool:
        """There is a store behind it."""
        return self._store is not None

    def open(self, store: BlobStore, deployment_id: str) -> None:
        """Let the servers of a deployment in."""
        self._store, self._deployment_id = store, deployment_id

    def belong_to(self, uid: str) -> None:
        """Let only those in that mean this registration; empty: it is being made, and its uid is not known here yet."""
        self._uid = uid

    def enter(self, deployment: str, container: str, *, new: str = "") -> BlobStore:
        if not deployment or not container:
            raise PermissionDenied(
                f"{self._name}: only servers of its own deployment may call it; call those instead",
                resource=self._name,
                permission="blobs",
            )
        if self._store is None:
            raise Unavailable(
                f"{self._name}: it has not found a server yet, and so not its deployment", retry_seconds=1.0
            )
        if deployment != self._deployment_id or (self._uid and container != self._uid):
            raise FailedPrecondition(
                f"{self._name}: this process serves another deployment, or the container was registered anew; list "
                "the containers",
                resource=self._name,
                state="another",
            )
        if new and self.state != "active" and not new.startswith(PROBES):
            raise FailedPrecondition(
                f"{self._name} takes no new blobs: it is {self.state}", resource=self._name, state=self.state
            )
        return self._store
