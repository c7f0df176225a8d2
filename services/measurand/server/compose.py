"""What a server is made of, on one screen: the rules over two stores, the services in front, the jobs beside.

Nothing else knows all the rooms, and nothing is looked up: each part is handed what it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version

from measurand.core.catalogs import Catalogs
from measurand.core.collector import Collector
from measurand.core.counters import Counters
from measurand.core.datasets import Datasets
from measurand.core.file_listing import FileListing
from measurand.core.files import Files
from measurand.core.limits import Limits
from measurand.core.reading import Reading
from measurand.core.reading_many import ReadingMany
from measurand.core.small_files import SmallFiles
from measurand.core.uploading import Uploads
from measurand.server.background import Job
from measurand.server.config import Config
from measurand.server.listener import Adder, serving
from measurand.server.means import in_threads, make_means, make_threads
from measurand.server.metrics import Metrics
from measurand.server.patterns import compile_pattern
from measurand.server.stores import open_blobs, open_documents
from measurand.services.catalogs import CatalogService
from measurand.services.datasets import DatasetService
from measurand.services.files import FileRooms, FileService
from measurand.services.server_info import About, Holders, ServerService
from measurand.v1.catalogs_pb2_grpc import add_CatalogServiceServicer_to_server as add_catalogs
from measurand.v1.datasets_pb2_grpc import add_DatasetServiceServicer_to_server as add_datasets
from measurand.v1.files_pb2_grpc import add_FileServiceServicer_to_server as add_files
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


async def compose(
    config: Config,
    metrics: Metrics,
    opening: AsyncExitStack,
    *,
    instance_id: str,
    draining: asyncio.Event,
    holders: Holders,
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
    """
    hashing, storing = make_threads("hash"), make_threads("store", 4)
    for threads in (hashing, storing):
        opening.push_async_callback(asyncio.to_thread, threads.shutdown)
    means = make_means(hashing)
    limits = config.limits.make()
    documents, deployment_id = await open_documents(config.documents_place)
    opening.push_async_callback(documents.close)
    blobs = await open_blobs(config.blobs_place, deployment_id, means, in_threads(storing), metrics)
    opening.push_async_callback(blobs.close)

    catalogs = Catalogs(documents, means, limits, compile_pattern=compile_pattern)
    datasets = Datasets(documents, catalogs, means, limits, compile_pattern=compile_pattern)
    files = Files(documents, datasets, means, limits)
    listing = FileListing(documents, datasets)
    uploads = Uploads(documents, blobs, datasets, files, means, limits)
    small_files = SmallFiles(blobs, datasets, files, means, limits)
    reading = Reading(blobs, files, means, limits)
    reading_many = ReadingMany(documents, blobs, datasets, files, reading, limits)
    file_rooms = FileRooms(files, listing, uploads, small_files, reading, reading_many)

    about = About(
        version=version("measurand"),
        deployment_id=deployment_id,
        instance_id=instance_id,
        document_store=config.documents_place.kind,
        blob_store="local" if config.blobs_place.kind == "file" else config.blobs_place.kind,
        features=("regex", "watch"),
    )

    return Parts(
        services=[
            ("measurand.v1.CatalogService", serving(add_catalogs, CatalogService(catalogs))),
            ("measurand.v1.DatasetService", serving(add_datasets, DatasetService(datasets, limits))),
            ("measurand.v1.FileService", serving(add_files, FileService(file_rooms, means, limits, draining))),
            ("measurand.v1.ServerService", serving(add_server, ServerService(about, limits, means.now, holders))),
        ],
        jobs=[
            Job("counters", 1.0, Counters(documents, means, limits).run),
            Job("expire uploads", 5 * MINUTE, uploads.ends.expire),
            Job("expire superseded files", HOUR, files.expire_superseded),
            Job("purge", 10 * MINUTE, datasets.purge_expired),
            Job("collect garbage", HOUR, Collector(documents, blobs, means, limits).run_once),
        ],
        limits=limits,
    )
