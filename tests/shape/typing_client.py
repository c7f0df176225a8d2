"""The public types, asserted and not hoped for. mypy reads this module in `scripts/check`; nobody runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

import numpy as np

from measurand.client import (
    Array,
    AsyncArray,
    AsyncCatalog,
    AsyncChange,
    AsyncClient,
    AsyncDataset,
    AsyncFound,
    AsyncLease,
    AsyncObjects,
    Catalog,
    Change,
    Client,
    DataFile,
    Dataset,
    DownloadResult,
    File,
    Found,
    Lease,
    Objects,
    Operation,
    OperationProgress,
    Registration,
    RegistrationChange,
    Revision,
    UploadResult,
)
from measurand.client.errors import Conflict, MeasurandError, NotFound
from measurand.core.ports import BlobStore, DocumentStore
from measurand.storage.blobs.local.store import Local
from measurand.storage.blobs.memory import Memory as MemoryBlobs
from measurand.storage.documents.memory import Memory as MemoryDocuments
from measurand.storage.documents.sqlite.store import Sqlite


def blocking(client: Client, run: Dataset) -> None:
    with Client("memory:") as entered:
        assert_type(entered, Client)
    lab = client.create_catalog("lab")
    assert_type(lab, Catalog)
    assert_type(client.catalog("lab"), Catalog)
    assert_type(client.catalogs(), list[Catalog])

    assert_type(lab.objects, Objects)
    assert_type(lab.objects("cache", storage="erasure:4+2"), Objects)
    assert_type(lab.objects.put(b"x", if_absent=True), str)
    assert_type(lab.objects.get("key"), bytes)
    assert_type(lab.objects.get("key", None), bytes | None)
    assert_type("key" in lab.objects, bool)
    assert_type(lab.objects.metadata("key"), File)
    assert_type(lab.objects.put_batch({"key": b"x"}), list[str | MeasurandError])
    assert_type(lab.objects.get_batch(["key"]), list[bytes | MeasurandError | None])
    assert_type(list(lab.objects.list()), list[File])

    assert_type(client.operations.list("state = running"), Sequence[Operation])
    operation = client.operations.get("01JD8Y6T4GZQ5N3K7V2B9XWCMF")
    assert_type(operation.wait(60, progress=True), Operation)
    assert_type(operation.progress, OperationProgress)
    assert_type(operation.result(), Mapping[str, Any])
    assert_type(operation.problem, MeasurandError | None)

    assert_type(lab.create("qubit T1", {"temperature": 0.012}, tags=["t1"]), Dataset)
    assert_type(lab.save(DataFile("rabi", {"f": 5.1e9})), Dataset)
    assert_type(lab.save_in_background(DataFile("rabi")), Future[Dataset])
    with lab.background() as work:
        assert_type(work.save(DataFile("rabi")), Future[Dataset])
        assert_type(work.submit(len, "abc"), Future[int])
    assert_type(lab.get("id"), Dataset)
    assert_type(lab.find("tags:t1", order_by="-created", limit=100), Found)
    assert_type(lab.count("tags:t1"), int)
    assert_type(list(lab.find()), list[Dataset])
    assert_type(lab.find().first(), Dataset | None)
    for change in lab.watch("tags:t1"):
        assert_type(change, Change)
        assert_type(change.dataset, Dataset)

    assert_type(run.id, str)
    assert_type(run.plain_url, str)
    assert_type(run.publish(), str)
    assert_type(run.title, str)
    assert_type(run.kind, str)
    assert_type(run.tags, tuple[str, ...])
    assert_type(run.parents, tuple[str, ...])
    assert_type(run.metadata, dict[str, Any])
    assert_type(run.revision, int)
    assert_type(run.created, datetime | None)
    assert_type(run.updated, datetime | None)
    assert_type(run.state, str)
    assert_type(run.history(), list[Revision])
    assert_type(run.refresh(), Dataset)

    assert_type(run.upload("trace.csv"), File)
    assert_type(run.upload_dir("out/"), UploadResult)
    assert_type(run.write_bytes("note.txt", b""), File)
    assert_type(run.read_bytes("note.txt"), bytes)
    assert_type(run.read_into("note.txt", bytearray(4)), int)
    assert_type(run.download("trace.csv"), Path)
    assert_type(run.download_dir("out/"), DownloadResult)
    assert_type(run.files(), list[File])
    with run.open("trace.csv", "rb") as reading:
        assert_type(reading.read(10), bytes)
        assert_type(reading.readinto(bytearray(10)), int)
    with run.open("trace.csv", "wb") as writing:
        assert_type(writing.write(b""), int)


def arrays(run: Dataset) -> None:
    iq = run["iq"]
    assert_type(iq, Array)
    run["iq"] = [1.0, 2.0]
    iq[1:, ::2] = 0
    assert_type(run.write_array("iq", [1.0], dims=("t",), codec="none"), Array)
    assert_type(run.create_array("live", (0, 1024), "u2", chunks=(64, None)), Array)
    assert_type(run.arrays(), list[Array])
    assert_type("iq" in run, bool)
    assert_type(list(run), list[str])
    assert_type(run.load({"iq": slice(3)}), dict[str, Any])
    assert_type(iq.shape, tuple[int, ...])
    assert_type(iq.dtype, np.dtype[Any])
    assert_type(iq.dims, tuple[str | None, ...])
    assert_type(iq.attrs, dict[str, Any])
    assert_type(iq.written, np.ndarray[Any, Any])
    assert_type(iq.missing(), list[tuple[slice, ...]])
    assert_type(iq.append([1.0]), int)
    assert_type(iq.refresh(), Array)
    assert_type(len(iq), int)


async def awaited_arrays(run: AsyncDataset) -> None:
    iq = await run["iq"]
    assert_type(iq, AsyncArray)
    assert_type(await run.write_array("iq", [1.0]), AsyncArray)
    assert_type(await run.arrays(), list[AsyncArray])
    assert_type([name async for name in run], list[str])
    assert_type(await iq.written, np.ndarray[Any, Any])
    assert_type(await iq.append([1.0]), int)


async def awaited(client: AsyncClient, run: AsyncDataset) -> None:
    async with AsyncClient("memory:") as entered:
        assert_type(entered, AsyncClient)
    lab = await client.create_catalog("lab")
    assert_type(lab, AsyncCatalog)
    assert_type(await lab.save(DataFile("rabi")), AsyncDataset)
    assert_type(lab.objects, AsyncObjects)
    assert_type(await lab.objects.get("key", 7), bytes | int)
    assert_type([file async for file in lab.objects.list()], list[File])
    assert_type(lab.save_in_background(DataFile("rabi")), Future[AsyncDataset])
    async with lab.background() as work:
        assert_type(work.save(DataFile("rabi")), Future[AsyncDataset])
    assert_type(await lab.create("qubit T1"), AsyncDataset)
    assert_type(lab.find("tags:t1"), AsyncFound)
    assert_type([each async for each in lab.find()], list[AsyncDataset])
    async for change in await lab.watch("tags:t1"):
        assert_type(change, AsyncChange)
    assert_type(await run.upload("trace.csv"), File)
    assert_type(await run.read_bytes("note.txt"), bytes)
    assert_type(await run.files(), list[File])


def registered(client: Client) -> None:
    with client.registry.register("gateway", "a", "grpc://a:1") as lease:
        assert_type(lease, Lease)
        assert_type(lease.epoch, int)
    assert_type(client.registry.get("gateway", "a"), Registration)
    assert_type(client.registry.list("gateway"), list[Registration])
    assert_type(client.registry.get_many("gateway", ["a"]), dict[str, Registration])
    for change in client.registry.watch("gateway"):
        assert_type(change, RegistrationChange)


async def awaited_registered(client: AsyncClient) -> None:
    async with client.registry.register("gateway", "a", ttl="30s") as lease:
        assert_type(lease, AsyncLease)
    assert_type(await client.registry.resolve("gateway", "a"), Registration)
    async for change in await client.registry.watch("gateway"):
        assert_type(change, RegistrationChange)


def errors(error: MeasurandError) -> None:
    assert_type(error.reason, str)
    assert_type(error.details, dict[str, str])
    facts: Mapping[str, str] = NotFound("").details
    assert facts is not None
    parents: tuple[type[MeasurandError], ...] = (NotFound, Conflict)
    assert parents


def stores(local: Local, memory: MemoryBlobs, sqlite: Sqlite, documents: MemoryDocuments) -> None:
    """A store is what its port says, with no cast."""
    blobs: tuple[BlobStore, ...] = (local, memory)
    kept: tuple[DocumentStore, ...] = (sqlite, documents)
    assert blobs and kept
