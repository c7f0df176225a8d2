"""Epochs never come down, though what is long gone is forgotten: new names begin above all that was forgotten."""

from __future__ import annotations

from measurand.core.ports import Document, DocumentStore

__all__ = ["FLOORS", "epoch_floor", "floor_of", "raise_epoch_floor"]

FLOORS = "registration_floors"
"""The collection of one document."""

_KEY = "epoch"


async def epoch_floor(documents: DocumentStore) -> int:
    """Return the highest epoch of all registrations that were forgotten."""
    found = await documents.fetch(FLOORS, _KEY)
    return 0 if found is None else floor_of(found)


async def raise_epoch_floor(documents: DocumentStore, epoch: int) -> None:
    """Make sure that the floor is at least there. Durable when it returns, and registrations may then be forgotten."""
    while True:
        found = await documents.fetch(FLOORS, _KEY)
        document = Document(_KEY, "", {"epoch": epoch})
        if found is None:
            if (await documents.insert_many(FLOORS, [document]))[0]:
                return
        elif (
            floor_of(found) >= epoch
            or await documents.replace(FLOORS, document, expected_revision=found.revision) is not None
        ):
            return


def floor_of(document: Document) -> int:
    """Return the floor that a document says."""
    value = document.body["epoch"]
    assert isinstance(value, int)
    return value
