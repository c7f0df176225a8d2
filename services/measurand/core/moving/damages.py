"""What could not be proved while it was copied. Notes of it lie beside the blobs, so that no later run forgets it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from measurand.core.blob_rules import closing
from measurand.core.moving.contents import blobs_of
from measurand.core.ports import Blob, BlobStore, DocumentStore
from measurand.wire.errors import AlreadyExists

__all__ = ["PREFIX", "Damage", "Damages"]

PREFIX = "damaged/"
"""Of the keys of notes; the key of the blob follows."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file or a chunk whose bytes are not, or not all, those that were stored.

    Parameters
    ----------
    collection, key : str
        Its document.
    blob : str
        Where the bytes lie.
    what : str
        What is wrong with them; of which chunk, where they are one's.
    """

    collection: str
    key: str
    blob: str
    what: str


class Damages:
    """Notes of blobs that hold healthy files beside damaged ones: these blobs are copied, and not looked into again."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def note(self, blob: str, damages: Sequence[Damage]) -> None:
        """Keep what is wrong with a blob. Durable when it returns; call it before the blob is there."""
        text = json.dumps([asdict(damage) for damage in damages]).encode()
        with suppress(AlreadyExists):
            await self._blobs.put(f"{PREFIX}{blob}", [text])

    async def of(self, documents: DocumentStore) -> list[Damage]:
        """Return what was noted of files that are still there, with the same bytes."""
        found: list[Damage] = []
        async with closing(self._blobs.scan(PREFIX)) as notes:
            async for note in notes:
                if note.staged:
                    continue
                chunks = [bytes(chunk) async for chunk in self._blobs.open(Blob(note.key, note.size))]
                for value in json.loads(b"".join(chunks)):
                    damage = Damage(**value)
                    document = await documents.fetch(damage.collection, damage.key)
                    if document is not None and damage.blob in {
                        blob.key for blob in blobs_of(damage.collection, document)
                    }:
                        found.append(damage)
        return found
