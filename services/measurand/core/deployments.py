"""What a document store says of itself: whose it is, in which format it is, and whether it is all there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from measurand.core.ports import Document, DocumentStore, Json
from measurand.wire.errors import AlreadyExists, Contention, FailedPrecondition

__all__ = [
    "DEPLOYMENTS",
    "FORMAT",
    "Deployment",
    "begin_deployment",
    "check_format",
    "fetch_deployment",
    "keep_deployment",
    "open_deployment",
]

DEPLOYMENTS = "deployments"
"""The collection of one document."""

FORMAT = 1
"""The format of documents and blobs that this release writes; `migrating` has the steps to it."""

_KEY = "deployment"


@dataclass(frozen=True, slots=True)
class Deployment:
    """The servers over one document store, past and present.

    Parameters
    ----------
    id : str
        A ULID. Blob stores carry it too, so that documents and blobs that are not of each other are never paired.
    format : int
        Of the documents; 0: they are from before formats had numbers.
    unfinished : str
        What is being put into the store, such as `copy of 01J…`. Empty: it is all there.
    revision : int
        Of the document that says so.
    """

    id: str
    format: int = FORMAT
    unfinished: str = ""
    revision: int = 0


async def fetch_deployment(documents: DocumentStore) -> Deployment | None:
    """Return what the store says of itself, or None if nobody has used it yet."""
    found = await documents.fetch(DEPLOYMENTS, _KEY)
    if found is None:
        return None
    number = found.body.get("format", 0)
    assert isinstance(number, int)
    return Deployment(str(found.body["id"]), number, str(found.body.get("unfinished", "")), found.revision)


async def open_deployment(documents: DocumentStore, new_id: Callable[[], str]) -> Deployment:
    """Return the deployment for a server to serve; the first one makes it.

    Raises
    ------
    FailedPrecondition
        STATE_WRONG: the store is of another format, or what is being put into it is not all there yet.
    """
    deployment = await fetch_deployment(documents)
    if deployment is None:
        try:
            return await _insert(documents, Deployment(new_id()))
        except AlreadyExists:  # another server was faster
            deployment = await fetch_deployment(documents)
    assert deployment is not None
    check_format("the documents have", deployment.format)
    if deployment.unfinished:
        raise FailedPrecondition(
            f"this store is an unfinished {deployment.unfinished}; run the command that makes it again, until it says "
            "that it is done",
            state="unfinished",
        )
    return deployment


async def begin_deployment(documents: DocumentStore, new_id: Callable[[], str], unfinished: str) -> Deployment:
    """Return the deployment that something is to be put into: a new one, or one in which just this was begun before.

    Raises
    ------
    FailedPrecondition
        STATE_WRONG: the store is a whole deployment, or something else was begun in it, or it is of another format.
    """
    deployment = await fetch_deployment(documents)
    if deployment is None:
        return await _insert(documents, Deployment(new_id(), unfinished=unfinished))
    if deployment.unfinished != unfinished:
        there = f"an unfinished {deployment.unfinished}" if deployment.unfinished else f"deployment {deployment.id}"
        raise FailedPrecondition(f"this store is {there}; name an empty one", state="in use")
    check_format("the documents have", deployment.format)
    return deployment


async def keep_deployment(documents: DocumentStore, deployment: Deployment) -> Deployment:
    """Store what has become of a deployment. Raises Contention when somebody else did meanwhile."""
    stored = await documents.replace(DEPLOYMENTS, _document(deployment), expected_revision=deployment.revision)
    if stored is None:
        raise Contention(f"deployment {deployment.id}: another command works on it; wait for its end, then try again")
    return Deployment(deployment.id, deployment.format, deployment.unfinished, stored.revision)


def check_format(what: str, number: int) -> None:
    """Raise FailedPrecondition unless a format is the one of this release. `what` begins the sentence."""
    if number > FORMAT:
        raise FailedPrecondition(
            f"{what} format {number}, and this release knows formats up to {FORMAT}; install the newer release that "
            "made it",
            state=f"format {number}",
        )
    if number < FORMAT:
        raise FailedPrecondition(
            f"{what} format {number}, and this release needs {FORMAT}; stop the servers, make a copy of the store, and "
            "run `measurand migrate`",
            state=f"format {number}",
        )


async def _insert(documents: DocumentStore, deployment: Deployment) -> Deployment:
    stored = await documents.insert(DEPLOYMENTS, _document(deployment))
    return Deployment(deployment.id, deployment.format, deployment.unfinished, stored.revision)


def _document(deployment: Deployment) -> Document:
    body: dict[str, Json] = {"id": deployment.id, "format": deployment.format}
    if deployment.unfinished:
        body["unfinished"] = deployment.unfinished
    return Document(_KEY, "", body)
