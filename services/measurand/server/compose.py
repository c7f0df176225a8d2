"""What a server is made of, on one screen: the rules over two stores, the services in front, the jobs beside.

Nothing else knows all the rooms, and nothing is looked up: each part is handed what it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version

from measurand.core.arrays.layout import Layout
from measurand.core.arrays.sealing_arrays import SealedArrays
from measurand.core.buffers.leading import Leading
from measurand.core.buffers.live import Board
from measurand.core.buffers.releasing import Releasing
from measurand.core.catalogs import Catalogs
from measurand.core.collector import Collector
from measurand.core.counters import Counters
from measurand.core.dataset_sealing import Sealing
from measurand.core.datasets import Datasets
from measurand.core.drafts import Drafts
from measurand.core.file_listing import FileListing
from measurand.core.files import Files
from measurand.core.leases import Lease
from measurand.core.limits import Limits
from measurand.core.locating import Locating
from measurand.core.operations.operations import Operations
from measurand.core.placement.policies import parse_policy
from measurand.core.policies import Policies
from measurand.core.reading import Reading
from measurand.core.reading_many import ReadingMany
from measurand.core.small_files import SmallFiles
from measurand.core.uploading import Uploads
from measurand.server.array_rooms import make_array_rooms
from measurand.server.background import Job
from measurand.server.buffer_figures import BufferFigures
from measurand.server.buffer_rooms import make_buffer_parts
from measurand.server.config import Config
from measurand.server.container_rooms import make_container_parts
from measurand.server.healing_rooms import make_healing_parts
from measurand.server.listener import Adder, serving
from measurand.server.means import in_threads, make_means, make_threads
from measurand.server.metrics import Figure, Series
from measurand.server.open_uploads import OpenUploads
from measurand.server.operation_rooms import make_operation_parts
from measurand.server.patterns import compile_pattern
from measurand.server.peers import Peers
from measurand.server.probing import Probe
from measurand.server.registry_rooms import make_registry_parts
from measurand.server.stores import Cache, Renew, open_documents, open_raw_blobs, wrap_blobs
from measurand.server.watching import StoreMeter
from measurand.services.arrays import ArrayService
from measurand.services.buffers import BufferService
from measurand.services.catalogs import CatalogService
from measurand.services.containers import ContainerService
from measurand.services.datasets import DatasetService
from measurand.services.files import FileRooms, FileService
from measurand.services.peers import PeerService
from measurand.services.server_info import About, Holders, ServerService
from measurand.storage.documents.measured import Measured
from measurand.v1.arrays_pb2_grpc import add_ArrayServiceServicer_to_server as add_arrays
from measurand.v1.buffers_pb2_grpc import add_BufferServiceServicer_to_server as add_buffers
from measurand.v1.catalogs_pb2_grpc import add_CatalogServiceServicer_to_server as add_catalogs
from measurand.v1.containers_pb2_grpc import add_ContainerServiceServicer_to_server as add_containers
from measurand.v1.datasets_pb2_grpc import add_DatasetServiceServicer_to_server as add_datasets
from measurand.v1.files_pb2_grpc import add_FileServiceServicer_to_server as add_files
from measurand.v1.operations_pb2_grpc import add_OperationServiceServicer_to_server as add_operations
from measurand.v1.peers_pb2_grpc import add_PeerServiceServicer_to_server as add_peers
from measurand.v1.registry_pb2_grpc import add_RegistryServiceServicer_to_server as add_registry
from measurand.v1.server_pb2_grpc import add_ServerServiceServicer_to_server as add_server

__all__ = ["Parts", "compose"]

MINUTE = 60.0
HOUR = 60 * MINUTE


@dataclass(frozen=True, slots=True)
class Parts:
    """A composed server, before it listens.

    Parameters
    ----------
    services : sequence of (str, Adder)
        Full names, and what adds them to a gRPC server.
    """

    services: Sequence[tuple[str, Adder]]
    jobs: Sequence[Job]
    limits: Limits
    lease: Lease | None
    """Held by the one of several servers that does what is to be done once. None: this server has no peers."""
    probe: Probe | None
    """Asks stores on the network whether they answer."""
    renew: Renew | None
    leading: Leading
    """To be told where other servers reach this one."""
    own_figures: Sequence[Figure | Series]
    """What this server can tell of itself."""
    shared_figures: Sequence[Figure | Series]
    """What the server that does the shared work can tell of all of them."""


async def compose(
    config: Config,
    meter: StoreMeter,
    opening: AsyncExitStack,
    *,
    instance_id: str,
    draining: asyncio.Event,
    holders: Holders,
    has_peers: bool,
) -> Parts:
    """Build a server from its settings. Raises ConfigError when a store cannot be opened.

    Parameters
    ----------
    opening : AsyncExitStack
        Closes what was opened, in the opposite order, when the server ends or if it cannot begin.
    draining : Event
        Set when the server is going away.
    holders : Holders
        Who holds a private server open.
    has_peers : bool
        Other processes may stand on the same stores.
    """
    hashing, storing = make_threads("hash"), make_threads("store", 16 if config.blobs_place.is_shared else 4)
    for threads in (hashing, storing):
        opening.push_async_callback(asyncio.to_thread, threads.shutdown)
    means = make_means(hashing)
    limits = config.limits.make()
    opened = await open_documents(config.documents_place)
    documents = Measured(opened.store, store=config.documents_place.kind, metrics=meter, monotonic=means.monotonic)
    opening.push_async_callback(documents.close)
    cache = Cache(config.data / "cache", config.cache_bytes)
    place, in_thread = config.blobs_place, in_threads(storing)
    raw = None if place.kind == "containers" else await open_raw_blobs(place, opened.deployment_id, in_thread)
    container_parts = await make_container_parts(
        documents,
        raw,
        parse_policy(config.storage),
        means,
        limits,
        in_thread,
        deployment_id=opened.deployment_id,
        takes_memory=config.documents_place.kind == "memory",
        local=[config.data / "containers" / f"local-{number}" for number in range(1, config.containers + 1)],
    )
    opening.push_async_callback(container_parts.sites.close)
    spread = container_parts.spread
    opened_blobs = wrap_blobs(raw, place, means, in_thread, meter, spread=spread, cache=cache)
    blobs = opened_blobs.store
    opening.push_async_callback(blobs.close)
    presign = opened_blobs.presign if config.direct_reads else None

    catalogs = Catalogs(documents, means, limits, compile_pattern=compile_pattern)
    are_spread = container_parts.are_spread
    layout = Layout(documents, means, opened_blobs.plain, are_elsewhere=are_spread)
    opening.push_async_callback(layout.close)
    board = Board(documents)
    opening.push_async_callback(board.close)
    releasing = Releasing(documents, board, means, limits)
    datasets = Datasets(
        documents,
        catalogs,
        means,
        limits,
        compile_pattern=compile_pattern,
        purge_also=[layout.remove, releasing.release],
        purge_catalog_also=[releasing.remove_all],
    )
    array_rooms = make_array_rooms(documents, blobs, datasets, means, limits)
    peers = Peers(opened.deployment_id)
    opening.push_async_callback(peers.close)
    buffers = make_buffer_parts(
        documents, blobs, catalogs, datasets, board, releasing, means, limits, peers, instance_id=instance_id
    )
    opening.push_async_callback(buffers.commits.close)
    opening.push_async_callback(buffers.relaying.close)
    opening.push_async_callback(buffers.rooms.groups.close)
    peer_service = PeerService(
        buffers.rooms.appends, draining, deployment_id=opened.deployment_id, instance_id=instance_id
    )
    drafts = Drafts(documents, catalogs, datasets, means, limits)
    files = Files(documents, datasets, means, limits)
    listing = FileListing(documents, datasets)
    uploads = Uploads(documents, blobs, datasets, files, means, limits)
    sealed_arrays = SealedArrays(documents, array_rooms.resizing, means)
    sealing = Sealing(documents, catalogs, datasets, uploads.ends, means, limits, arrays=sealed_arrays, layout=layout)
    policies = Policies(documents, means)
    small_files = SmallFiles(blobs, datasets, files, policies, means, limits)
    reading = Reading(blobs, files, means, limits)
    locating = Locating(files, means, presign=presign, longest=config.direct_reads, are_elsewhere=are_spread)
    reading_many = ReadingMany(documents, blobs, datasets, files, reading, limits)
    file_rooms = FileRooms(files, listing, uploads, small_files, reading, reading_many, locating)

    operations = Operations(documents, means, limits, compile_pattern=compile_pattern)
    healing = make_healing_parts(
        documents,
        blobs,
        spread,
        container_parts.placements,
        container_parts.sites,
        container_parts.wanted,
        container_parts.told,
        means,
        limits,
    )
    operation_parts = make_operation_parts(
        documents, operations, means, limits, owner=instance_id, handlers=healing.handlers
    )
    opening.push_async_callback(operation_parts.runner.close)
    container_rooms = container_parts.rooms(files, policies, operations)

    registry = make_registry_parts(documents, means, limits)
    opening.push_async_callback(registry.feed.close)

    about = About(
        version=version("measurand"),
        deployment_id=opened.deployment_id,
        instance_id=instance_id,
        document_store=config.documents_place.kind,
        blob_store="local" if config.blobs_place.kind == "file" else config.blobs_place.kind,
        features=("regex", "watch", "containers", *(["direct_reads"] if presign else [])),
    )

    counters = Counters(documents, means, limits)
    buffer_figures = BufferFigures(documents, means)
    open_uploads = OpenUploads(documents)

    return Parts(
        services=[
            ("measurand.v1.ArrayService", serving(add_arrays, ArrayService(array_rooms, means, limits, draining))),
            ("measurand.v1.BufferService", serving(add_buffers, BufferService(buffers.rooms, means, limits, draining))),
            ("measurand.v1.CatalogService", serving(add_catalogs, CatalogService(catalogs))),
            ("measurand.v1.ContainerService", serving(add_containers, ContainerService(container_rooms))),
            ("measurand.v1.DatasetService", serving(add_datasets, DatasetService(datasets, drafts, sealing, limits))),
            ("measurand.v1.FileService", serving(add_files, FileService(file_rooms, means, limits, draining))),
            ("measurand.v1.OperationService", serving(add_operations, operation_parts.service)),
            ("measurand.v1.PeerService", serving(add_peers, peer_service)),
            ("measurand.v1.RegistryService", serving(add_registry, registry.service)),
            ("measurand.v1.ServerService", serving(add_server, ServerService(about, limits, means.now, holders))),
        ],
        jobs=[
            Job("counters", 1.0, counters.run, shared=True),
            Job("count uploads", MINUTE, open_uploads.count, shared=True),
            Job("expire uploads", 5 * MINUTE, uploads.ends.expire, shared=True),
            Job("expire superseded files", HOUR, files.expire_superseded, shared=True),
            Job("expire drafts", 10 * MINUTE, drafts.expire, shared=True),
            Job("lay out", 5 * MINUTE, sealing.lay_out_left, shared=True),
            Job("expire arrays", 5 * MINUTE, array_rooms.arrays.expire, shared=True),
            *buffers.jobs,
            *container_parts.jobs,
            *healing.jobs,
            *operation_parts.jobs,
            *registry.jobs,
            Job("look at buffers", 3.0, buffer_figures.look, shared=True),
            Job("purge", 10 * MINUTE, datasets.purge_expired, shared=True),
            Job("collect garbage", HOUR, Collector(documents, blobs, means, limits).run_once, shared=True),
        ],
        limits=limits,
        lease=Lease(documents, means, name="background", owner=instance_id) if has_peers else None,
        probe=Probe(documents, blobs, shortage=container_parts.shortage) if config.is_on_network else None,
        renew=opened.renew,
        leading=buffers.leading,
        own_figures=[
            *opened_blobs.figures,
            *buffers.figures,
            *operation_parts.figures,
            *container_parts.figures,
            *healing.own_figures,
        ],
        shared_figures=[
            Figure(
                "measurand_counts_lag_seconds", "Age of the last moment that all counts are right for.", counters.lag
            ),
            Figure("measurand_uploads_open", "Uploads that are begun and not finished.", open_uploads.last),
            *buffer_figures.series(),
            *healing.shared_figures,
        ],
    )
