"""Sealing in core: what stands for arrays and layouts, and every way in which a file may change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.core.rooms import Rooms, make_rooms, prepare

from measurand.core.arrays.layout import Progress
from measurand.core.dataset_edits import DatasetDraft
from measurand.core.dataset_making import NewDataset
from measurand.core.dataset_sealing import Sealing
from measurand.core.file_documents import Digests, File, FileSpec
from measurand.core.names import DatasetName, FileName
from measurand.core.ports import DocumentStore
from measurand.core.principal import LOCAL_USER, Principal
from measurand.core.small_files import SmallFile
from measurand.core.upload_writer import Ack
from measurand.core.uploads import Upload, upload_document, upload_of
from measurand.wire.errors import (
    Unavailable,
)

Write = Callable[[Rooms, bytes], Awaitable[object]]


class Arrays:
    """Stands for the arrays of datasets."""

    def __init__(self) -> None:
        self.busy = False
        self.sealed: list[DatasetName] = []

    async def in_use(self, name: DatasetName) -> bool:
        return self.busy

    async def seal(self, name: DatasetName, *, force: bool) -> None:
        self.sealed.append(name)


class Layout:
    """Stands for what lays arrays out; publishing takes three calls."""

    def __init__(self) -> None:
        self.url = "file:///plain/run.zarr"
        self.fails = False
        self.calls = 0

    async def lay_out(self, name: DatasetName) -> str:
        if self.fails:
            raise Unavailable("the store is away")
        return self.url

    async def publish(self, principal: Principal, name: DatasetName) -> Progress:
        self.calls += 1
        is_done = self.calls == 3
        return Progress(is_done, self.calls, 3, "s3://bucket/run.zarr" if is_done else "")


async def begin() -> Rooms:
    rooms = make_rooms()
    await prepare(rooms)
    return rooms


def sealing(rooms: Rooms, arrays: Arrays, layout: Layout) -> Sealing:
    return Sealing(
        rooms.documents,
        rooms.catalogs,
        rooms.datasets,
        rooms.uploads.ends,
        rooms.means,
        rooms.limits,
        arrays=arrays,
        layout=layout,
    )


async def seal(rooms: Rooms, **more: Any) -> Any:
    return await rooms.sealing.seal(LOCAL_USER, rooms.name, **more)


async def put(rooms: Rooms, data: bytes, path: str = "a") -> File:
    return await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(rooms.file(path)), data, Digests()))


async def seal_past_uploads(rooms: Rooms) -> None:
    """Seal as if the uploads there are had begun right after it looked for them."""
    there = [item.document for item in await rooms.documents.find("uploads")]
    for document in there:
        await rooms.documents.remove("uploads", document.key)
    await seal(rooms)
    for document in there:
        await rooms.documents.insert("uploads", upload_document(upload_of(document)))


async def nothing(_: Ack) -> None:
    """Nobody listens."""


async def begun(rooms: Rooms, data: bytes, path: str = "a") -> Upload:
    """Begin an upload and send all its bytes."""
    upload = await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file(path)), None, Digests(), "")
    writer = await rooms.uploads.open_writer(LOCAL_USER, upload.id, None, nothing)
    await writer.take(0, data, rooms.means.crc32c(data, 0))
    await writer.close()
    rooms.uploads.closed(writer)
    return upload


async def upload(rooms: Rooms, data: bytes) -> File:
    made = await begun(rooms, data)
    return await rooms.uploads.ends.commit(LOCAL_USER, made.id, len(data), Digests(), None)


async def copy(rooms: Rooms, data: bytes) -> File:
    await rooms.datasets.create(LOCAL_USER, rooms.name.parent, NewDataset(DatasetDraft(), "source"))
    source = FileName("lab", "source", "s")
    await rooms.small_files.put(LOCAL_USER, SmallFile(FileSpec(source), data, Digests()))
    return await rooms.files.copy(LOCAL_USER, source, 0, FileSpec(rooms.file("a")), "")


async def delete(rooms: Rooms, data: bytes) -> None:
    await rooms.files.delete(LOCAL_USER, rooms.file("a"))


WRITES: dict[str, Write] = {"put": put, "upload": upload, "copy": copy, "delete": delete}


class Interrupting:
    """A document store that does something right before a write into one collection, once."""

    def __init__(self, inner: DocumentStore, collection: str, work: Callable[[], Awaitable[object]]) -> None:
        self._inner = inner
        self._collection = collection
        self._work: Callable[[], Awaitable[object]] | None = work

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)
        if verb not in ("insert", "insert_many", "replace", "remove"):
            return method

        async def write(collection: str, *args: Any, **more: Any) -> Any:
            if collection == self._collection and (work := self._work) is not None:
                self._work = None
                await work()
            return await method(collection, *args, **more)

        return write
