"""Uploads against a model: whatever comes in between, a file has exactly the bytes of its writers, or is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.core.rooms import prepare
from tests.core.staging import STAGING, Staging

from measurand.core.file_documents import Digests, FileSpec
from measurand.core.limits import Limits
from measurand.core.principal import LOCAL_USER
from measurand.core.upload_writer import Ack, UploadWriter
from measurand.core.uploads import UploadState
from measurand.wire.errors import (
    ChecksumMismatch,
    DigestMismatch,
    FailedPrecondition,
    MeasurandError,
    NotFound,
    OffsetGap,
    SizeMismatch,
    UploadIncomplete,
    WriterFenced,
)

Result = TypeVar("Result")
LONG = 15
"""So many steps come before an upload may end: most that befalls it needs some."""
SMALL = Limits(window_bytes=64, persist_bytes=16, max_data_bytes=32, max_put_file_bytes=32)


@dataclass
class Writer:
    """A writer, what it has taken that may not be persisted, and what it has been told."""

    writer: UploadWriter
    epoch: int
    taken: bytes
    acks: list[Ack] = field(default_factory=list)
    gone: bool = False


class UploadMachine(RuleBasedStateMachine):
    """One upload; `persisted` is what the model knows to be durable, and the writers' tails may become so."""

    writers = Bundle("writers")

    def __init__(self, staging: Staging) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.rooms = staging.make_rooms(SMALL)
        self.run(prepare(self.rooms))
        spec = FileSpec(self.rooms.file("a.bin"))
        self.upload = self.run(self.rooms.uploads.create(LOCAL_USER, spec, None, Digests(), "request"))
        self.acknowledged = 0
        self.epoch = 0
        self.newest: Writer | None = None
        self.known = b""  # the bytes that are persisted for sure
        self.ended = False
        self.content: bytes | None = None
        self.steps = 0

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    def teardown(self) -> None:
        if self.newest is not None and not self.newest.gone:
            self.run(self.newest.writer.abandon())
        self.runner.close()

    @rule(target=writers, known=st.booleans())
    def open_writer(self, known: bool) -> Writer | None:
        acks: list[Ack] = []

        async def acknowledge(ack: Ack) -> None:
            acks.append(ack)

        expected = self.epoch if known else None
        opening = self.rooms.uploads.open_writer(LOCAL_USER, self.upload.id, expected, acknowledge)
        if self.ended:
            with pytest.raises((FailedPrecondition, NotFound)):
                self.run(opening)
            return None
        writer = self.run(opening)
        self.epoch += 1
        assert writer.upload.epoch == self.epoch
        there = writer.upload.persisted_size
        assert there >= self.acknowledged
        before = self.newest.taken if self.newest else self.known
        self.known = before[:there]
        assert len(self.known) == there
        self.newest = Writer(writer, self.epoch, self.known, acks)
        self.acknowledged = there
        return self.newest

    @rule(
        writer=writers,
        back=st.sampled_from([0, 0, 0, 1, 8]),
        size=st.integers(0, 32),
        flush=st.booleans(),
        torn=st.sampled_from([False, False, False, True]),
    )
    def take(self, writer: Writer | None, back: int, size: int, flush: bool, torn: bool) -> None:
        if writer is None or writer.gone:
            return
        offset = max(0, len(writer.taken) - back)
        data = bytes((writer.epoch + place) % 251 for place in range(offset, offset + size))  # tells whose it is
        data = writer.taken[offset : offset + len(data)] + data[len(writer.taken) - offset :]  # repeats are honest
        crc32c = self.rooms.means.crc32c(data, 0) ^ torn
        try:
            self.run(writer.writer.take(offset, data, crc32c, flush=flush))
        except ChecksumMismatch:
            assert torn
            return
        except (WriterFenced, FailedPrecondition, NotFound):
            assert self.ended or writer is not self.newest
            self.leave(writer)
            return
        assert not torn
        writer.taken = writer.taken[:offset] + data if offset + len(data) > len(writer.taken) else writer.taken

    @rule(sizes=st.lists(st.integers(8, 32), min_size=1, max_size=8), flush=st.booleans())
    def send(self, sizes: list[int], flush: bool) -> None:
        for size in sizes:
            self.take(self.newest, 0, size, flush and size == sizes[-1], False)

    @rule(turns=st.integers(1, 20), seconds=st.sampled_from([0.0, 0.0, 2.0]))
    def let_the_writers_work(self, turns: int, seconds: float) -> None:
        async def wait() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.rooms.clock.move(timedelta(seconds=seconds))
        self.run(wait())

    @rule(writer=writers, beyond=st.integers(1, 9))
    def leave_a_gap(self, writer: Writer | None, beyond: int) -> None:
        if writer is None or writer.gone:
            return
        with pytest.raises((OffsetGap, WriterFenced, FailedPrecondition, NotFound)):
            self.run(writer.writer.take(len(writer.taken) + beyond, b"x", None))

    @rule(writer=writers)
    def close(self, writer: Writer | None) -> None:
        if writer is None or writer.gone:
            return
        writer.gone = True
        try:
            self.run(writer.writer.close())
        except (WriterFenced, FailedPrecondition, NotFound):
            assert self.ended or writer is not self.newest
        else:
            if writer is self.newest and not self.ended:
                self.known = writer.taken
                self.acknowledged = len(self.known)
        self.rooms.uploads.closed(writer.writer)

    @rule()
    def restart_the_server(self) -> None:
        self.rooms = self.rooms.restarted()

    @precondition(lambda self: not self.ended)
    @rule(data=st.binary(min_size=1, max_size=32))
    def write_one_chunk(self, data: bytes) -> None:
        if self.newest is not None and not self.newest.gone:
            return
        writing = self.rooms.uploads.write_chunk(
            LOCAL_USER, self.upload.id, len(self.known), data, None, self.epoch or None
        )
        assert self.run(writing).persisted_size == len(self.known) + len(data)
        self.known += data
        self.acknowledged = len(self.known)
        if self.newest is not None:
            self.newest.taken = self.known

    @precondition(lambda self: self.steps > LONG)
    @rule(wrong_size=st.sampled_from([0, 0, 0, 1, -1]), wrong_digest=st.sampled_from([False, False, False, True]))
    def commit(self, wrong_size: int, wrong_digest: bool) -> None:
        if self.newest is not None and not self.newest.gone:
            self.close(self.newest)
        size = len(self.known) + wrong_size
        digest = blake3(self.known + b"!" * wrong_digest).hexdigest()
        committing = self.rooms.uploads.ends.commit(LOCAL_USER, self.upload.id, size, Digests(None, digest), None)
        try:
            file = self.run(committing)
        except (UploadIncomplete, SizeMismatch):
            assert wrong_size and self.content is None
        except DigestMismatch:
            assert wrong_digest and self.content is None
            self.ended = True
        except (FailedPrecondition, NotFound):
            assert self.ended and self.content is None
        else:
            self.ended = True
            if self.content is None:
                assert not wrong_size and not wrong_digest
                self.content = self.known
            assert file.size == len(self.content)
            assert file.digests == Digests(self.rooms.means.crc32c(self.content, 0), blake3(self.content).hexdigest())

    @precondition(lambda self: self.steps > LONG)
    @rule()
    def abort(self) -> None:
        try:
            self.run(self.rooms.uploads.ends.abort(LOCAL_USER, self.upload.id))
        except FailedPrecondition:
            assert self.content is not None
        else:
            assert self.content is None
            self.ended = True

    @invariant()
    def a_reader_sees_all_of_it_or_nothing(self) -> None:
        try:
            content = self.run(self.rooms.content("a.bin"))
        except NotFound:
            assert self.content is None
        else:
            assert content == self.content

    @invariant()
    def time_goes_by(self) -> None:
        self.steps += 1

    @invariant()
    def what_was_acknowledged_stays_persisted(self) -> None:
        if self.newest is not None and not self.ended:
            self.acknowledged = max([self.acknowledged, *(ack.persisted_size for ack in self.newest.acks)])
        upload = self.run(self.rooms.uploads.get(LOCAL_USER, self.upload.id))
        if upload.state is UploadState.OPEN:
            assert upload.persisted_size >= self.acknowledged

    def leave(self, writer: Writer) -> None:
        writer.gone = True
        with pytest.raises(MeasurandError):
            self.run(writer.writer.close())


@pytest.mark.parametrize("staging", STAGING.values(), ids=STAGING)
def test_uploads_keep_to_the_model(staging: Staging) -> None:
    class Uploads(UploadMachine):
        def __init__(self) -> None:
            super().__init__(staging)

    run_state_machine_as_test(Uploads, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))
