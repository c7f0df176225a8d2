"""Filling an empty store from a backup."""

from __future__ import annotations

from collections.abc import Sequence

from measurand.core.deployments import FORMAT
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.moving.contents import CONTENTS, Content
from measurand.core.moving.lines import document_of, sum_up
from measurand.core.moving.manifests import Manifest, read_part
from measurand.core.moving.sweeping import Sweeping, Swept
from measurand.core.moving.tally import Tally
from measurand.core.moving.writing import Writing
from measurand.core.ports import BlobStore, Document, DocumentStore
from measurand.wire.errors import DataLoss, FailedPrecondition

__all__ = ["restore"]

BATCH_BYTES = 16 * 1024 * 1024


async def restore(
    backup: BlobStore,
    manifest: Manifest,
    documents: DocumentStore,
    blobs: BlobStore,
    means: Means,
    limits: Limits,
    tally: Tally,
) -> Swept:
    """Put a backup into a store, and return which files could not be brought back whole.

    The store is empty, or this was begun in it before: then it goes on.

    Raises
    ------
    DataLoss
        STORED_DATA_CORRUPT: the documents of the backup are damaged, or the store does not give back what it was given.
    FailedPrecondition
        STATE_WRONG: the backup is of another format.
    """
    if manifest.format != FORMAT:
        then = "" if manifest.format > FORMAT else ", then run `measurand migrate` of this one"
        raise FailedPrecondition(
            f"backup {manifest.id} has format {manifest.format}, and this release restores format {FORMAT}; restore it "
            f"with the release that made it{then}",
            state=f"format {manifest.format}",
        )
    writing = Writing(documents, MetadataReader(means, limits), tally)
    for content in CONTENTS:
        for part in manifest.documents[content.name].parts:
            await _put(documents, writing, content, [document_of(line) for line in await read_part(backup, part)])
            tally.documents += part.count
    swept = await Sweeping(documents, backup, blobs, means, tally).sweep(documents)
    for name, found in (await sum_up(documents, CONTENTS, with_running=True)).items():
        wanted = manifest.documents[name]
        if (found.count, found.sha256) != (wanted.count, wanted.sha256):
            raise DataLoss(
                f"{name}: the store has {found.count} documents that are not the {wanted.count} of the backup; empty "
                "it and restore again",
                resource=name,
            )
    return swept


async def _put(documents: DocumentStore, writing: Writing, content: Content, wanted: Sequence[Document]) -> None:
    for start in range(0, len(wanted), content.at_once):
        part = wanted[start : start + content.at_once]
        there = await documents.fetch_many(content.name, [document.key for document in part])
        await writing.reconcile(content, part, there)
