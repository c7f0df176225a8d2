"""A laboratory at work: every kind of change that core makes, one after the other or chosen by chance.

It remembers what was acknowledged to it, so that a copy of its stores can be held to that.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.core.array_rooms import ArrayRooms
from tests.core.busy_arrays import BusyArrays
from tests.core.busy_buffers import BusyBuffers
from tests.core.busy_operations import fill_operations
from tests.core.busy_registry import fill_registry
from tests.core.rooms import Rooms

from measurand.core.catalog_documents import CatalogDraft
from measurand.core.dataset_edits import DatasetDraft, DatasetEdit
from measurand.core.dataset_making import NewDataset
from measurand.core.file_documents import Digests, FileSpec
from measurand.core.names import CatalogName, DatasetName, FileName
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.upload_writer import Ack
from measurand.wire.documents import encode


async def _nothing(_: Ack) -> None:
    """Nobody listens."""


@dataclass
class Known:
    """What was acknowledged of one dataset. `created` tells it from one of its name that was purged."""

    created: datetime
    revision: int
    files: dict[str, bytes] = field(default_factory=dict)
    generations: dict[str, list[int]] = field(default_factory=dict)
    arrays: dict[str, list[bytes]] = field(default_factory=dict)


@dataclass
class Busy:
    """Does one thing after the other.

    Attributes
    ----------
    known : dict
        The datasets that are there, by name.
    purged : set
        Those that were and are not to come back.
    sent : set
        The bytes of all files that were ever sent.
    arrays : BusyArrays
        What it does with arrays.
    buffers : BusyBuffers
        What it does with buffers.
    """

    rooms: Rooms
    chance: random.Random
    known: dict[DatasetName, Known] = field(default_factory=dict)
    purged: set[DatasetName] = field(default_factory=set)
    sent: set[bytes] = field(default_factory=set)
    made: int = 0

    def __post_init__(self) -> None:
        self.arrays = BusyArrays(self.chance)
        self.buffers = BusyBuffers(random.Random(str(self.chance.getstate())))

    async def begin(self) -> None:
        await self.rooms.catalogs.create(LOCAL_USER, "lab", CatalogDraft(title="Lab", labels={"room": "1.23"}))
        await self.rooms.catalogs.create(LOCAL_USER, "tmp", CatalogDraft(undelete_window=timedelta(0)))
        for _ in range(4):
            await self.make()
        await self.buffers.begin(self.rooms)
        await fill_registry(self.rooms)
        await fill_operations(self.rooms)

    async def step(self) -> None:
        """Do something; what has no object just now is left."""
        verbs: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (3, self.make),
            (5, self.edit),
            (6, self.put),
            (4, self.upload),
            (2, self.remove_file),
            (2, self.copy),
            (1, self.delete),
            (2, self.purge),
            (1, self.describe),
            (1, self.recreate),
            (1, self.collect),
            (8, self.work_on_arrays),
        ]
        [verb] = self.chance.choices([verb for _, verb in verbs], [weight for weight, _ in verbs])
        self.rooms.clock.move(timedelta(milliseconds=self.chance.randrange(1, 50)))
        await verb()
        if self.buffers.chance.random() < 0.1:
            await self.buffers.step(self.rooms)

    async def make(self, dataset_id: str = "") -> None:
        self.made += 1
        catalog = self.chance.choice(["lab", "lab", "tmp"])
        metadata = {"n": self.made, "t": self.chance.random(), "nested": {"list": [1, 2.5, "x"], "day.of": "Mo"}}
        draft = DatasetDraft(title=f"run {self.made}", kind="scan", tags=("t1",), metadata=encode(metadata))
        request_id = f"make-{self.made}" if self.chance.random() < 0.5 else ""
        made = await self.rooms.datasets.create(
            LOCAL_USER, CatalogName(catalog), NewDataset(draft, dataset_id, request_id)
        )
        self.known[made.name] = Known(made.create_time, made.revision)
        self.purged.discard(made.name)

    async def recreate(self) -> None:
        """Make a dataset with the id of one that was purged."""
        for name in sorted(self.purged, key=str):
            if name.catalog == "lab":
                draft = DatasetDraft(title="anew")
                new = await self.rooms.datasets.create(LOCAL_USER, name.parent, NewDataset(draft, name.dataset))
                self.known[name] = Known(new.create_time, new.revision)
                self.purged.discard(name)
                return

    async def edit(self) -> None:
        name = self._any()
        request_id = f"edit-{self.made}-{self.chance.random()}" if self.chance.random() < 0.5 else ""
        edit = DatasetEdit(patch=encode({"edited": self.chance.random()}), comment="again")
        done = await self.rooms.datasets.update(LOCAL_USER, name, edit, request_id=request_id)
        self.known[name].revision = done.revision

    async def put(self) -> None:
        name, path = self._any(), self._path()
        data = self._data()
        spec = FileSpec(FileName(name.catalog, name.dataset, path), content_type="text/plain")
        small = SmallFile(spec, data, Digests(), f"request:{self.chance.random()} hash")
        file = await self.rooms.small_files.put(LOCAL_USER, small)
        self._know(name, path, file.generation, data)

    async def upload(self) -> None:
        name, path = self._any(), self._path()
        data = self._data()
        spec = FileSpec(FileName(name.catalog, name.dataset, path), attributes={"detector": "d1"})
        uploads = self.rooms.uploads
        begun = await uploads.create(LOCAL_USER, spec, len(data), Digests(), f"request:{self.chance.random()} hash")
        half = len(data) // 2
        for part in (data[:half], data[half:]):
            writer = await uploads.open_writer(LOCAL_USER, begun.id, None, _nothing)
            await writer.take(writer.upload.persisted_size, part, None)
            await writer.close()
            uploads.closed(writer)
        match self.chance.randrange(8):
            case 0:
                await uploads.ends.abort(LOCAL_USER, begun.id)
            case 1:
                return  # somebody has gone home
            case _:
                file = await uploads.ends.commit(LOCAL_USER, begun.id, len(data), Digests(), None)
                self._know(name, path, file.generation, data)

    async def copy(self) -> None:
        name = self._any()
        for path, data in self.known[name].files.items():
            goal = self._any("lab")
            spec = FileSpec(FileName(goal.catalog, goal.dataset, f"copy/{path}"))
            source = FileName(name.catalog, name.dataset, path)
            file = await self.rooms.files.copy(LOCAL_USER, source, 0, spec, "")
            self._know(goal, f"copy/{path}", file.generation, data)
            return

    async def remove_file(self) -> None:
        name = self._any()
        for path in self.known[name].files:
            await self.rooms.files.delete(LOCAL_USER, FileName(name.catalog, name.dataset, path))
            del self.known[name].files[path], self.known[name].generations[path]
            dataset = await self.rooms.datasets.get(LOCAL_USER, name)
            self.known[name].revision = dataset.revision
            return

    async def delete(self) -> None:
        name = self._any()
        await self.rooms.datasets.delete(LOCAL_USER, name)
        done = await self.rooms.datasets.undelete(LOCAL_USER, name) if name.catalog == "lab" else None
        if done is not None:
            self.known[name].revision = done.revision
        else:
            del self.known[name]  # its window is over at once
            self.purged.add(name)
            await self.rooms.datasets.purge_expired()

    async def purge(self) -> None:
        if len(self.known) > 3:
            name = self._any()
            del self.known[name]
            self.purged.add(name)
            await self.rooms.datasets.purge(LOCAL_USER, name, force=True)

    async def describe(self) -> None:
        draft = CatalogDraft(description=str(self.chance.random()))
        await self.rooms.catalogs.update(LOCAL_USER, CatalogName("lab"), draft, ["description"], request_id="")

    async def work_on_arrays(self) -> None:
        name = self._any()
        known = self.known[name]
        await self.arrays.step(self.rooms, name, known.arrays)
        known.revision = (await self.rooms.datasets.get(LOCAL_USER, name)).revision

    async def collect(self) -> None:
        """Let an hour pass, and do what servers do in the background."""
        self.rooms.clock.move(timedelta(minutes=61))
        await self.rooms.uploads.ends.expire()
        await ArrayRooms(self.rooms).arrays.expire()
        await self.rooms.collector.run_once()

    def _any(self, catalog: str = "") -> DatasetName:
        names = sorted((name for name in self.known if catalog in ("", name.catalog)), key=str)
        return self.chance.choice(names or sorted(self.known, key=str))

    def _path(self) -> str:
        return self.chance.choice(["a.bin", "b.bin", "deep/c.bin"])

    def _data(self) -> bytes:
        data = self.chance.randbytes(self.chance.randrange(0, 400))
        self.sent.add(data)
        return data

    def _know(self, name: DatasetName, path: str, generation: int, data: bytes) -> None:
        if name in self.known:
            self.known[name].files[path] = data
            self.known[name].generations.setdefault(path, []).append(generation)
