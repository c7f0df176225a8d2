"""Any sequence of calls of any BlobStore gives what a dict of bytes gives."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.conformance.blobs import PLACES, MakePlace

from measurand.core.ports import Blob, BlobStore, Stage
from measurand.wire.errors import AlreadyExists, DataLoss, NotFound

Result = TypeVar("Result")

KEYS = st.sampled_from(["a", "a/b", "a/b.c", "b_1"])
DATA = st.binary(max_size=60) | st.integers(0, 20_000).map(lambda size: (b"measurand" * 3000)[:size])


class Blobs(RuleBasedStateMachine):
    """A store of one place, sometimes opened anew, beside two dicts."""

    def __init__(self, make_place: MakePlace) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.place = make_place(self.folder)
        self.finished: dict[str, bytes] = {}
        self.staged: dict[str, bytes] = {}
        self.blobs: dict[str, Blob] = {}
        self.stages: dict[str, Stage] = {}

    @initialize()
    def open(self) -> None:
        self.store: BlobStore = self.run(self._open)

    async def _open(self) -> BlobStore:
        return self.place.open()

    def run(self, call: Callable[[], Awaitable[Result]]) -> Result:
        async def awaited() -> Result:
            return await call()

        return self.runner.run(awaited())

    @rule()
    def another_process_goes_on(self) -> None:
        for stage in self.stages.values():
            self.run(stage.close)
        self.stages.clear()
        self.run(self.store.close)
        self.open()

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        if key in self.finished or key in self.staged:
            with pytest.raises(AlreadyExists):
                self.run(lambda: self.store.put(key, [data]))
        else:
            self.blobs[key] = self.run(lambda: self.store.put(key, [data[:7], data[7:]]))
            self.finished[key] = data

    @rule(key=KEYS)
    def stage(self, key: str) -> None:
        if key in self.finished or key in self.staged:
            with pytest.raises(AlreadyExists):
                self.run(lambda: self.store.stage(key))
        else:
            self.stages[key] = self.run(lambda: self.store.stage(key))
            self.staged[key] = b""

    @rule(key=KEYS, data=DATA)
    def append(self, key: str, data: bytes) -> None:
        if key in self.stages:
            stage = self.stages[key]
            self.run(lambda: stage.append([data]))
            self.staged[key] += data
            assert self.run(stage.persist) == len(self.staged[key])

    @rule(key=KEYS, share=st.sampled_from([0.0, 0.3, 1.0, 1.0, 1.1]))
    def finish(self, key: str, share: float) -> None:
        there = self.finished.get(key, self.staged.get(key))
        size = 5 if there is None else int(len(there) * share)
        if there is None:
            with pytest.raises(NotFound):
                self.run(lambda: self.store.finish(key, size))
        elif size > len(there):
            with pytest.raises(DataLoss):
                self.run(lambda: self.store.finish(key, size))
        elif key in self.staged:
            self.blobs[key] = self.run(lambda: self.store.finish(key, size))
            self.finished[key] = self.staged.pop(key)[:size]
            self._close_stage(key)
        else:
            assert self.run(lambda: self.store.finish(key, len(there))).size == len(there)

    @rule(key=KEYS)
    def discard(self, key: str) -> None:
        self.run(lambda: self.store.discard(key))
        self.staged.pop(key, None)
        self._close_stage(key)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.run(lambda: self.store.delete(key))
        self.finished.pop(key, None)

    @rule(key=KEYS, begin=st.floats(0, 1), share=st.floats(0, 1))
    def read(self, key: str, begin: float, share: float) -> None:
        async def content(blob: Blob, offset: int, length: int) -> bytes:
            return b"".join([bytes(chunk) async for chunk in self.store.open(blob, offset, length)])

        if key not in self.finished:
            with pytest.raises(NotFound):
                self.run(lambda: content(Blob(key, 1), 0, 1))
            return
        data = self.finished[key]
        offset = int(len(data) * begin)
        length = int((len(data) - offset) * share)
        assert self.run(lambda: content(self.blobs[key], offset, length)) == data[offset : offset + length]

    @rule(key=KEYS)
    def stat(self, key: str) -> None:
        if key in self.finished:
            assert self.run(lambda: self.store.stat(key)).size == len(self.finished[key])
        else:
            with pytest.raises(NotFound):
                self.run(lambda: self.store.stat(key))

    @rule()
    def scan(self) -> None:
        async def scanned() -> list[tuple[str, int, bool]]:
            return sorted([(blob.key, blob.size, blob.staged) async for blob in self.store.scan()])

        finished = [(key, len(data), False) for key, data in self.finished.items()]
        staged = [(key, len(data), True) for key, data in self.staged.items()]
        assert self.run(scanned) == sorted(finished + staged)

    @invariant()
    def the_place_holds_what_the_model_holds(self) -> None:
        assert self.place.look() == self.finished
        assert self.place.leftovers() == len(self.staged)

    def _close_stage(self, key: str) -> None:
        if key in self.stages:
            self.run(self.stages.pop(key).close)

    def teardown(self) -> None:
        for stage in self.stages.values():
            self.run(stage.close)
        self.run(self.store.close)
        self.runner.close()
        shutil.rmtree(self.folder)


@pytest.mark.parametrize("make_place", PLACES.values(), ids=PLACES)
def test_a_store_does_what_a_dict_does(make_place: MakePlace) -> None:
    class BlobsHere(Blobs):
        def __init__(self) -> None:
            super().__init__(make_place)

    run_state_machine_as_test(BlobsHere, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))
