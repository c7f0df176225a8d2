"""Copying a whole store to another pair of stores, as often as wanted, until nothing is left to be copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.moving.contents import CONTENTS
from measurand.core.moving.copying import Copying
from measurand.core.moving.damages import Damage
from measurand.core.moving.lines import sum_up, walk
from measurand.core.moving.sweeping import Sweeping
from measurand.core.moving.tally import Tally
from measurand.core.moving.writing import Writing
from measurand.core.ports import BlobStore, DocumentStore
from measurand.core.upload_ends import finish_pieces
from measurand.core.uploads import UPLOADS, UploadState, upload_of
from measurand.wire.errors import DataLoss, FailedPrecondition, NotFound

__all__ = ["Relocation", "relocate"]


@dataclass(frozen=True, slots=True)
class Relocation:
    """What a run has come to.

    Parameters
    ----------
    damaged : sequence of Damage
        Files whose bytes could not be copied.
    """

    damaged: Sequence[Damage]


async def relocate(
    documents: DocumentStore,
    blobs: BlobStore,
    to_documents: DocumentStore,
    to_blobs: BlobStore,
    means: Means,
    limits: Limits,
    tally: Tally,
    *,
    is_last: bool,
) -> Relocation:
    """Make a copy of a store, or go on with one.

    Parameters
    ----------
    is_last : bool
        Nobody writes to the source any more: the copy is to be all of it, and is compared with it.

    Raises
    ------
    FailedPrecondition
        STATE_WRONG: somebody has written to the source during the last run.
    DataLoss
        STORED_DATA_CORRUPT: the target has given back other bytes than it was given.
    """
    if is_last:
        await _settle_uploads(documents, blobs)
    writing = Writing(to_documents, MetadataReader(means, limits), tally)
    copying = Copying(documents, to_documents, writing, means, tally, with_running=is_last)
    sweeping = Sweeping(documents, blobs, to_blobs, means, tally)
    await copying.begin()
    if is_last:
        cut = await copying.cut(looks=1)
        swept = await sweeping.sweep(to_documents)
        there = await sum_up(to_documents, CONTENTS, with_running=True)
        if not cut.is_exact or swept.is_outdated or there != await sum_up(documents, CONTENTS, with_running=True):
            raise FailedPrecondition(
                "the source was written to meanwhile; stop what serves it, and run this again", state="being written"
            )
    else:
        swept = await sweeping.sweep(to_documents, meanwhile=copying.keep_up)
        await copying.cut(looks=1)
    return Relocation(list(swept.damaged.values()))


async def _settle_uploads(documents: DocumentStore, blobs: BlobStore) -> None:
    """Finish what running uploads have persisted, so that it can be copied; they go on behind it with a new writer."""
    async for batch in walk(documents, UPLOADS, 500):
        for document in batch:
            if upload_of(document).state in (UploadState.OPEN, UploadState.COMMITTING):
                try:
                    await finish_pieces(documents, blobs, document)
                except (NotFound, DataLoss):  # its bytes are gone: it cannot go on anywhere
                    continue
