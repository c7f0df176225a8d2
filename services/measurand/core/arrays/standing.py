"""Where an array stands: seen under its name, or staged under its uid; and what is said to those who come too late."""

from __future__ import annotations

from dataclasses import dataclass

from measurand.core.arrays.blocks import Block
from measurand.core.arrays.documents import (
    ARRAYS,
    STAGED,
    Array,
    array_document,
    array_of,
    is_dropped,
    staged_document,
)
from measurand.core.names import ArrayName
from measurand.core.ports import DocumentStore
from measurand.wire.errors import Sealed, WriterFenced

__all__ = ["Standing", "fenced", "find_standing", "sealed", "stored"]


@dataclass(frozen=True, slots=True)
class Standing:
    """An array, and the document that it was read from.

    Parameters
    ----------
    collection : str
        `ARRAYS` or `STAGED`.
    revision : int
        Of the document.
    """

    array: Array
    collection: str
    revision: int


async def find_standing(documents: DocumentStore, name: ArrayName, uid: str = "") -> Standing | None:
    """Return where the array with this uid stands (empty: the one that is seen); None if it was removed.

    A staged array may be committed between two looks, so the name is looked at once more in the end.
    """
    for collection, key in ((ARRAYS, str(name)), (STAGED, uid), (ARRAYS, str(name))):
        if not key:
            break
        document = await documents.fetch(collection, key)
        if document is None or (collection == STAGED and is_dropped(document)):
            continue
        array = array_of(document)
        if (not uid or array.uid == uid) and array.name == name:
            return Standing(array, collection, document.revision)
    return None


async def stored(documents: DocumentStore, standing: Standing, array: Array) -> bool:
    """Put a changed array in the place of the one that was found. False: it has changed since."""
    document = array_document(array) if standing.collection == ARRAYS else staged_document(array)
    new = await documents.replace(standing.collection, document, expected_revision=standing.revision)
    return new is not None


def sealed(what: Array | Block) -> Sealed:
    """Return what is said to those who would change what is sealed."""
    name = what.name if isinstance(what, Array) else what.array
    return Sealed(
        f"{name} is sealed and does not change any more; make a new dataset with this one as its parent",
        resource=name.parent,
    )


def fenced(what: Array | Block, epoch: int, *, newest: int | None = None) -> WriterFenced:
    """Return what is said to an appender when a newer one has taken over."""
    name = what.name if isinstance(what, Array) else what.array
    newest = what.epoch if newest is None else newest
    details = {"rows": what.takeovers[epoch]} if isinstance(what, Array) and epoch in what.takeovers else {}
    return WriterFenced(
        f"{name}: a newer appender has taken over (epoch {newest}, not {epoch}); stop, or open it again to take over",
        resource=name,
        epoch=newest,
        **details,
    )
