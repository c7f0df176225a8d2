"""Every collection of a busy server is known, and its documents are found in another store as in their own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from tests.core.busy import Busy
from tests.core.rooms import Rooms, make_rooms

from measurand.core.counters import Counters
from measurand.core.dataset_documents import DATASETS, is_purging, purging_document
from measurand.core.leases import Lease
from measurand.core.limits import Limits
from measurand.core.metadata import MetadataReader
from measurand.core.moving.contents import CONTENTS, NOT_MOVED, content_of
from measurand.core.ports import Document
from measurand.core.view import View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory


class Remembering(Memory):
    """A memory store that remembers the view that each document was last written with."""

    def __init__(self) -> None:
        super().__init__(compile_pattern)
        self.views: dict[tuple[str, str], View] = {}

    async def insert(self, collection: str, document: Document) -> Document:
        self.views[collection, document.key] = document.view
        return await super().insert(collection, document)

    async def insert_many(self, collection: str, documents: Sequence[Document]) -> Sequence[bool]:
        stored = await super().insert_many(collection, documents)
        for document, is_new in zip(documents, stored, strict=True):
            if is_new:
                self.views[collection, document.key] = document.view
        return stored

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        stored = await super().replace(collection, document, expected_revision=expected_revision)
        if stored is not None:
            self.views[collection, document.key] = document.view
        return stored


async def busy_rooms(*, seed: int, steps: int) -> tuple[Rooms, Remembering]:
    """Return the rooms of a server that has done all that servers do."""
    documents = Remembering()
    rooms = replace(make_rooms(Limits(blob_grace=timedelta(hours=1)), seed=seed), documents=documents)
    busy = Busy(rooms, random.Random(seed))
    await busy.begin()
    for _ in range(steps):
        await busy.step()
    await Counters(documents, rooms.means, rooms.limits).run_once()
    await Lease(documents, rooms.means, name="background", owner="here").try_hold()
    return rooms, documents


async def test_every_collection_that_a_server_makes_is_moved_or_known_not_to_be() -> None:
    _, documents = await busy_rooms(seed=1, steps=150)
    made = {collection for collection, _ in documents.views}
    moved = {content.name for content in CONTENTS}
    assert moved <= made
    assert made <= moved | set(NOT_MOVED)
    assert not moved & set(NOT_MOVED)


async def test_the_view_of_every_document_can_be_made_anew_from_what_the_store_hands_out() -> None:
    rooms, documents = await busy_rooms(seed=2, steps=150)
    reader = MetadataReader(rooms.means, rooms.limits)
    compared = set()
    for content in CONTENTS:
        for found in await documents.find(content.name, limit=100_000):
            made = await content.view(found.document, reader)
            assert list(made) == list(documents.views[content.name, found.document.key]), found.document.key
            compared.add(content.name)
    assert compared == {content.name for content in CONTENTS}


async def test_a_dataset_that_is_being_purged_is_found_by_the_purge_that_goes_on() -> None:
    rooms, documents = await busy_rooms(seed=3, steps=5)
    [found] = await documents.find(DATASETS, limit=1)
    marked = await documents.replace(
        DATASETS, purging_document(found.document, rooms.means.now()), expected_revision=found.document.revision
    )
    assert marked is not None and is_purging(marked)
    view = await content_of(DATASETS).view(marked, MetadataReader(rooms.means, rooms.limits))
    await documents.remove(DATASETS, marked.key)
    await documents.insert(DATASETS, replace(marked, view=view))
    await rooms.restarted().datasets.purge_expired()
    assert await documents.fetch(DATASETS, marked.key) is None
