"""What a laboratory at work does with arrays. A row of an array is a chunk, and every visible row was written."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.core.array_rooms import ArrayRooms
from tests.core.rooms import Rooms

from measurand.core.arrays.attributes import ArrayEdit
from measurand.core.arrays.documents import Array
from measurand.core.arrays.making import NewArray
from measurand.core.names import ArrayName, DatasetName
from measurand.core.principal import LOCAL_USER

__all__ = ["BusyArrays"]

Rows = list[bytes]


@dataclass
class BusyArrays:
    """Makes, fills, cuts and removes arrays, and remembers what was acknowledged.

    Attributes
    ----------
    sent : set
        The bytes of all rows that were ever sent.
    """

    chance: random.Random
    sent: set[bytes] = field(default_factory=set)

    async def step(self, rooms: Rooms, name: DatasetName, known: dict[str, Rows]) -> None:
        """Do something with an array of a dataset; `known` has the rows of each."""
        arrays = ArrayRooms(rooms)
        verbs: list[tuple[int, Callable[[ArrayRooms, ArrayName, dict[str, Rows]], Awaitable[None]]]] = [
            (4, self._store_whole),
            (8, self._append),
            (2, self._overwrite),
            (3, self._cut),
            (1, self._describe),
            (1, self._remove),
            (1, self._leave),
        ]
        [verb] = self.chance.choices([verb for _, verb in verbs], [weight for weight, _ in verbs])
        await verb(arrays, ArrayName(name.catalog, name.dataset, self.chance.choice(["x", "y", "deep/z"])), known)

    async def _store_whole(self, arrays: ArrayRooms, name: ArrayName, known: dict[str, Rows]) -> None:
        rows = [self._row() for _ in range(self.chance.randrange(4))]
        array = await self._make(arrays, name, len(rows), staged=True)
        for number, row in enumerate(rows):
            await arrays.write(array, (number,), row)
        await arrays.arrays.commit(LOCAL_USER, name, array.uid)
        known[name.array] = rows

    async def _append(self, arrays: ArrayRooms, name: ArrayName, known: dict[str, Rows]) -> None:
        if name.array not in known:
            await self._make(arrays, name, 0)
            known[name.array] = []
        writer = await arrays.open(await arrays.arrays.get(LOCAL_USER, name), append=True)
        rows = known[name.array]
        assert writer.opening.visible_rows == len(rows)
        new = [self._row() for _ in range(self.chance.randrange(1, 4))]
        for number, row in enumerate(new, start=1):
            await writer.take(number, (len(rows) + number - 1,), row, None)
        await writer.grow_to(len(new) + 1, len(rows) + len(new))
        await writer.close(is_complete=True)
        rows += new

    async def _overwrite(self, arrays: ArrayRooms, name: ArrayName, known: dict[str, Rows]) -> None:
        if rows := known.get(name.array):
            place, row = self.chance.randrange(len(rows)), self._row()
            await arrays.write(await arrays.arrays.get(LOCAL_USER, name), (place,), row)
            rows[place] = row

    async def _cut(self, arrays: ArrayRooms, name: ArrayName, known: dict[str, Rows]) -> None:
        if name.array in known:
            del known[name.array][self.chance.randrange(1 + len(known[name.array])) :]
            await arrays.resizing.resize(LOCAL_USER, name, (len(known[name.array]),), force=True)

    async def _describe(self, arrays: ArrayRooms, name: ArrayName, known: dict[str, Rows]) -> None:
        if name.array in known:
            edit = ArrayEdit(patch={"said": self.chance.random()})
            await arrays.arrays.update(LOCAL_USER, name, edit, request_id=f"array-{self.chance.random()}")

    async def _remove(self, arrays: ArrayRooms, name: ArrayName, known: dict[str, Rows]) -> None:
        if known.pop(name.array, None) is not None:
            await arrays.arrays.delete(LOCAL_USER, name)

    async def _leave(self, arrays: ArrayRooms, name: ArrayName, known: dict[str, Rows]) -> None:
        """Somebody has gone home."""
        array = await self._make(arrays, name, 2, staged=True)
        await arrays.write(array, (0,), self._row())

    async def _make(self, arrays: ArrayRooms, name: ArrayName, rows: int, *, staged: bool = False) -> Array:
        draft = NewArray(name.array, (rows,), "uint8", (1,), attributes={"unit": "V"})
        return await arrays.arrays.create(LOCAL_USER, name.parent, draft, staged=staged)

    def _row(self) -> bytes:
        row = self.chance.randbytes(self.chance.randrange(1, 60))
        self.sent.add(row)
        return row
