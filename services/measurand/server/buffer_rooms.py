"""What of a server has to do with buffers, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.buffers.appending import Appending
from measurand.core.buffers.batches import Batches
from measurand.core.buffers.buffers import Buffers
from measurand.core.buffers.closing import Closings
from measurand.core.buffers.committing import Commits
from measurand.core.buffers.consuming import Consuming
from measurand.core.buffers.events import Events
from measurand.core.buffers.freezing import Freezing
from measurand.core.buffers.groups import Groups
from measurand.core.buffers.leading import Leading
from measurand.core.buffers.live import Board
from measurand.core.buffers.queues import QUEUE_BYTES
from measurand.core.buffers.reading import Records
from measurand.core.buffers.relaying import Relaying
from measurand.core.buffers.releasing import Releasing
from measurand.core.buffers.retention import Retention
from measurand.core.buffers.tailing import Tails
from measurand.core.catalogs import Catalogs
from measurand.core.datasets import Datasets
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.background import Job
from measurand.server.metrics import Figure
from measurand.server.patterns import compile_pattern
from measurand.services.buffers import BufferRooms
from measurand.services.peers import AppendRelay, Appends
from measurand.v1.buffers_pb2 import AppendRequest

__all__ = ["BufferParts", "make_buffer_parts"]


@dataclass(frozen=True, slots=True)
class BufferParts:
    """The rules of buffers, and the work that nobody waits for.

    Parameters
    ----------
    leading : Leading
        To be told where this server is reached.
    relaying : Relaying
        To be closed before the way to other servers is.
    commits : Commits
        To be closed before the stores are: what was taken is then stored.
    """

    rooms: BufferRooms
    leading: Leading
    relaying: Relaying[AppendRequest]
    commits: Commits
    jobs: Sequence[Job]
    figures: Sequence[Figure]


def make_buffer_parts(
    documents: DocumentStore,
    blobs: BlobStore,
    catalogs: Catalogs,
    datasets: Datasets,
    board: Board,
    releasing: Releasing,
    means: Means,
    limits: Limits,
    relay: AppendRelay,
    *,
    instance_id: str,
) -> BufferParts:
    """Return the rules of buffers over two stores.

    Parameters
    ----------
    releasing : Releasing
        Also called when datasets are purged, which batches are.
    relay : Relay
        The way to other servers.
    """
    leading = Leading(instance_id)
    commits = Commits(documents, blobs, board, means, limits, leading)
    appending = Appending(catalogs, commits, board, means, limits)
    relaying = Relaying(leading, relay)
    records = Records(documents, blobs, catalogs, board, means, limits, compile_pattern=compile_pattern)
    closings = Closings(documents, board, releasing, means, limits)
    batches = Batches(documents, catalogs, means, limits)
    groups = Groups(documents, records, board, means, limits)
    buffers = Buffers(documents, catalogs, board, means, limits, remove_also=[releasing.remove])
    retention = Retention(documents, board, releasing, datasets.purging, means)
    return BufferParts(
        rooms=BufferRooms(
            buffers=buffers,
            appending=appending,
            appends=Appends(appending, relaying, means),
            records=records,
            tails=Tails(records, board, means, limits),
            freezing=Freezing(documents, catalogs, board, closings, batches, means, limits),
            batches=batches,
            events=Events(documents, catalogs, board, means, limits),
            groups=groups,
            consuming=Consuming(groups.sharing, records, board, means, limits),
        ),
        leading=leading,
        relaying=relaying,
        commits=commits,
        jobs=[
            Job("settle buffers", 1.0, closings.settle, shared=True),
            Job("keep buffers", 60.0, retention.run_once, shared=True),
            Job("expire buffers", 600.0, buffers.expire, shared=True),
            Job("sweep groups", 600.0, groups.sweep, shared=True),
        ],
        figures=[
            Figure(
                "measurand_queue_bytes", "Bytes of records that wait to be stored.", lambda: float(commits.queues.total)
            ),
            Figure("measurand_queue_limit_bytes", "As many may wait.", lambda: float(QUEUE_BYTES)),
        ],
    )
