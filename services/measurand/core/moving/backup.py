"""Making a backup of a store that goes on being written to, beside earlier backups that share its blobs."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence

from measurand.core.blob_rules import closing
from measurand.core.deployments import FORMAT
from measurand.core.means import Means
from measurand.core.moving.contents import CONTENTS
from measurand.core.moving.copying import Copying
from measurand.core.moving.lines import line_of, walk
from measurand.core.moving.manifests import PREFIX, Manifest, Part, Section, write_manifest
from measurand.core.moving.mending import mend
from measurand.core.moving.sweeping import Sweeping
from measurand.core.moving.tally import Tally
from measurand.core.moving.writing import Writing
from measurand.core.ports import Blob, BlobStore, Document, DocumentStore
from measurand.core.ulid import make_ulid

__all__ = ["BLOBS", "LOOKS", "make_backup"]

BLOBS = "blobs"
"""The collection of the working store that has the blobs which belong to the backup."""

LOOKS = 50
"""So often a moment without a write is looked for."""
SWEEPS = 10
FEW = 100
"""So many blobs that came during a sweep do not make another one worth while before the cut."""
PART_BYTES = 8 * 1024 * 1024


async def make_backup(
    documents: DocumentStore,
    blobs: BlobStore,
    working: DocumentStore,
    target: BlobStore,
    means: Means,
    tally: Tally,
    *,
    deployment: str,
    looks: int = LOOKS,
) -> Manifest:
    """Back a store up, and return what came of it. Durable when it returns.

    Parameters
    ----------
    documents, blobs : DocumentStore, BlobStore
        What is backed up.
    working : DocumentStore
        Empty; for the time of the backup.
    target : BlobStore
        Where it goes; nobody else makes a backup there meanwhile.
    deployment : str
        The id of what is backed up.
    looks : int
        See `Copying.cut`.

    Raises
    ------
    DataLoss
        STORED_DATA_CORRUPT: the target has given back other bytes than it was given.
    """
    began = means.now()
    writing = Writing(working, None, tally)
    copying = Copying(documents, working, writing, means, tally, with_running=False)
    sweeping = Sweeping(documents, blobs, target, means, tally)
    await copying.begin()
    for _ in range(SWEEPS):
        if (await sweeping.sweep(working, meanwhile=copying.keep_up)).copied <= FEW:
            break

    async def note(there: Sequence[Blob]) -> None:
        await working.insert_many(BLOBS, [Document(blob.key, "", {"size": blob.size}) for blob in there])

    while True:
        cut = await copying.cut(looks=looks)
        swept = await sweeping.sweep(working, seen=note)
        if not swept.is_outdated:
            break
    await mend(working)

    backup_id = f"{began:%Y%m%d-%H%M%S}-{make_ulid(began, means.random_bytes)[-6:].lower()}"
    parts = Parts(target)
    sections = {
        content.name: await parts.write(
            f"{PREFIX}{backup_id}/documents/{content.name}", _lines(working, content.name, content.at_once)
        )
        for content in CONTENTS
    }
    manifest = Manifest(
        id=backup_id,
        deployment=deployment,
        format=FORMAT,
        began=began,
        ended=means.now(),
        cut=cut,
        documents=sections,
        blobs=await parts.write(f"{PREFIX}{backup_id}/{BLOBS}", _blob_lines(working)),
        blob_bytes=await _blob_bytes(working),
        damaged=list(swept.damaged.values()),
    )
    await write_manifest(target, manifest)
    return manifest


class Parts:
    """Writes lines into blobs of bounded size."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def write(self, name: str, lines: AsyncIterator[bytes]) -> Section:
        """Write all lines and return where they are."""
        parts: list[Part] = []
        digest = hashlib.sha256()
        waiting: list[bytes] = []
        size = 0
        async for line in lines:
            digest.update(line)
            if waiting and size + len(line) > PART_BYTES:
                parts.append(await self._put(f"{name}.{len(parts) + 1:04d}.jsonl", waiting))
                waiting, size = [], 0
            waiting.append(line)
            size += len(line)
        if waiting:
            parts.append(await self._put(f"{name}.{len(parts) + 1:04d}.jsonl", waiting))
        return Section(sum(part.count for part in parts), digest.hexdigest(), parts)

    async def _put(self, key: str, lines: Sequence[bytes]) -> Part:
        data = b"".join(lines)
        written = await self._blobs.put(key, [data])
        async with closing(self._blobs.open(written)) as chunks:
            async for _ in chunks:
                pass
        return Part(key, len(lines), len(data), hashlib.sha256(data).hexdigest())


async def _lines(documents: DocumentStore, collection: str, at_once: int) -> AsyncIterator[bytes]:
    async for batch in walk(documents, collection, at_once):
        for document in batch:
            yield line_of(document)


async def _blob_lines(working: DocumentStore) -> AsyncIterator[bytes]:
    async for batch in walk(working, BLOBS, 1000):
        for document in batch:
            yield f'{{"key":"{document.key}","size":{document.body["size"]}}}\n'.encode()


async def _blob_bytes(working: DocumentStore) -> int:
    total = 0
    async for batch in walk(working, BLOBS, 1000):
        for document in batch:
            size = document.body["size"]
            assert isinstance(size, int)
            total += size
    return total
