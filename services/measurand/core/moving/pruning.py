"""Removing old backups, with the blobs that only they had, and what runs that were killed have left."""

from __future__ import annotations

import json

from measurand.core.blob_rules import closing
from measurand.core.moving.damages import PREFIX as DAMAGES
from measurand.core.moving.manifests import PREFIX, Manifest, list_backups, read_part
from measurand.core.ports import BlobStore, Document, DocumentStore

__all__ = ["prune"]

HELD = ("files/", "arrays/", "buffers/")
"""What the keys of blobs begin with that documents name."""
KEPT = "kept"
AT_ONCE = 500


async def prune(target: BlobStore, working: DocumentStore, *, keep: int) -> list[Manifest]:
    """Remove all but the newest backups, and return those that went.

    Parameters
    ----------
    target : BlobStore
        Where no backup is being made now.
    working : DocumentStore
        For the time of this call.
    keep : int
        So many stay, at least 1.
    """
    backups = await list_backups(target)
    kept, gone = backups[-keep:], backups[:-keep]
    for manifest in gone:  # without its manifest it is no backup any more, whatever is left of it
        await target.delete(manifest.key)
    names = tuple(f"{PREFIX}{manifest.id}/" for manifest in kept)
    async with closing(target.scan(PREFIX)) as stored:
        async for blob in stored:
            if not blob.key.startswith(names):
                await (target.discard(blob.key) if blob.staged else target.delete(blob.key))
    for manifest in kept:
        for part in manifest.blobs.parts:
            keys = [json.loads(line)["key"] for line in await read_part(target, part)]
            for start in range(0, len(keys), AT_ONCE):
                await working.insert_many(KEPT, [Document(key, "", {}) for key in keys[start : start + AT_ONCE]])
    for prefix in (*HELD, DAMAGES):
        await _remove_unkept(target, working, prefix)
    return list(gone)


async def _remove_unkept(target: BlobStore, working: DocumentStore, prefix: str) -> None:
    waiting: list[tuple[str, bool]] = []
    async with closing(target.scan(prefix)) as stored:
        async for blob in stored:
            waiting.append((blob.key, blob.staged))
            if len(waiting) == AT_ONCE:
                await _remove(target, working, waiting)
                waiting = []
    await _remove(target, working, waiting)


async def _remove(target: BlobStore, working: DocumentStore, blobs: list[tuple[str, bool]]) -> None:
    kept = await working.fetch_many(KEPT, [key.removeprefix(DAMAGES) for key, _ in blobs])
    for key, staged in blobs:
        if staged:
            await target.discard(key)
        elif key.removeprefix(DAMAGES) not in kept:
            await target.delete(key)
