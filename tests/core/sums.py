"""What the documents of a store come to in a backup."""

from __future__ import annotations

from collections.abc import Mapping

from measurand.core.moving.contents import CONTENTS, portable
from measurand.core.moving.lines import Sum, sum_up, walk
from measurand.core.moving.mending import mend
from measurand.core.ports import DocumentStore
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory

__all__ = ["sums_in_backup"]


async def sums_in_backup(documents: DocumentStore) -> Mapping[str, Sum]:
    """Return what the documents of a quiet store come to in a backup, which has no chunks of arrays out of sight."""
    backup = Memory(compile_pattern)
    for content in CONTENTS:
        async for batch in walk(documents, content.name, content.at_once):
            moved = [portable(content, document, with_running=False) for document in batch]
            await backup.insert_many(content.name, [document for document in moved if document is not None])
    await mend(backup)
    return await sum_up(backup, CONTENTS, with_running=True)
