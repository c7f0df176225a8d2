"""What is decided about submissions, beside a model that keeps everything and looks at one record after the other."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.core.buffers.deciding import Answer, Known, Opened, Stored, Stream, Submission, decide, sought
from measurand.core.buffers.documents import head_document, head_of
from measurand.core.buffers.heads import Head, Policy, State
from measurand.core.buffers.records import Record
from measurand.core.buffers.remembering import Moved, without
from measurand.core.buffers.windows import closed, frozen
from measurand.core.names import BufferName
from measurand.core.principal import Principal
from measurand.core.requests import Request
from measurand.core.times import microseconds
from measurand.wire.errors import (
    FailedPrecondition,
    Frozen,
    MeasurandError,
    RequestIdReused,
    WriterFenced,
    WriterSequenceGap,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOMEBODY = Principal("users/somebody")
EMPTY = Head(BufferName("lab", "live"), "01jd", "secret", SOMEBODY.name, NOW, NOW)


def record(data: bytes, key: str = "") -> Record:
    return Record(data, zlib.crc32(data), id=key)


def of(*records: Record, **more: object) -> Submission:
    return Submission(records, sum(len(one.data) for one in records), SOMEBODY, **more)  # type: ignore[arg-type]


def decided(head: Head, *submissions: Submission, known: Known | None = None) -> tuple[Head, Sequence[Answer]]:
    decision = decide(head, submissions, NOW, known or Known())
    return decision.head, decision.answers


# ------------------------------------------------------------------------------------------------------------ examples


def test_a_decision_that_changes_nothing_returns_the_very_same_head() -> None:
    head, _ = decided(EMPTY, of(record(b"1"), writer="w", first_number=1))
    again, answers = decided(head, of(record(b"1"), writer="w", first_number=1))
    assert again is head
    assert answers == [Stored(1, 1, 1, answers[0].runs)]  # type: ignore[union-attr]
    again, answers = decided(head, of(record(b"3"), writer="w", first_number=3))
    assert again is head
    assert isinstance(answers[0], WriterSequenceGap)


def test_a_window_that_is_frozen_stays_as_it_is() -> None:
    head = frozen(decided(EMPTY, of(record(b"1")))[0], NOW, "users/trainer")
    after, answers = decided(head, of(record(b"2")), of(record(b"3"), writer="w", first_number=1))
    assert [type(answer) for answer in answers] == [Frozen, Frozen]
    assert after.next_sequence == head.next_sequence
    assert after.etag == head.etag
    assert after.freeze is not None
    assert after.freeze.refused == (SOMEBODY.name, "w")


def test_a_freeze_that_nobody_has_prolonged_is_over_for_the_next_record() -> None:
    head = frozen(decided(EMPTY, of(record(b"1")))[0], NOW, "users/trainer", expires=microseconds(NOW) + 1)
    _, [refused] = decided(head, of(record(b"2")))
    assert isinstance(refused, Frozen)
    after = decide(head, [of(record(b"2"))], NOW + timedelta(seconds=1), Known()).head
    assert (after.state, after.window, after.window_records) == (State.ACTIVE, 2, 1)
    assert [one.window for one in after.closing] == [1]


def test_after_a_refusal_nothing_more_of_the_stream_is_taken() -> None:
    stream = Stream()
    bad = of(record(b"1", "i"), record(b"2", "i"), stream=stream)
    _, answers = decided(EMPTY, of(record(b"0"), stream=stream), bad, of(record(b"3"), stream=stream), of(record(b"4")))
    assert [type(answer) for answer in answers] == [Stored, RequestIdReused, RequestIdReused, Stored]
    assert answers[-1].first == 2  # type: ignore[union-attr]


def test_the_rates_of_the_last_minute_are_kept_and_no_more() -> None:
    head = EMPTY
    for second in range(0, 300, 5):
        head = decide(head, [of(record(b"abc"))], NOW + timedelta(seconds=second), Known()).head
    assert [records for _, records, _ in head.rates] == [2] * 7
    assert [counted for _, _, counted in head.rates] == [6] * 7


def test_a_table_of_writers_names_each_run_once() -> None:
    submissions = [
        of(record(b"1"), record(b"2"), writer="a", first_number=1),
        of(record(b"3"), writer="a", first_number=3),
        of(record(b"?")),
        of(record(b"1"), writer="b", first_number=1),
        of(record(b"4"), writer="a", first_number=4),
    ]
    [cut] = decide(EMPTY, submissions, NOW, Known()).cuts
    assert cut.writers == [(0, 3, "a", 1), (4, 1, "b", 1), (5, 1, "a", 4)]


@pytest.mark.parametrize("is_rotating", [False, True])
def test_a_limit_that_was_reached_before_is_kept_before_more_gets_in(is_rotating: bool) -> None:
    head, _ = decided(EMPTY, of(record(b"1"), record(b"2")))
    head = replace(head, policy=Policy(freeze_after_records=2, rotate=is_rotating))
    after, [answer] = decided(head, of(record(b"3")))
    assert isinstance(answer, Stored if is_rotating else Frozen)
    assert after.window_records == (1 if is_rotating else 2)


# --------------------------------------------------------------------------------------------------------------- model


@dataclass
class Model:
    """What there is, record by record."""

    limit: int
    is_rotating: bool
    records: list[tuple[Record, str, int, int]] = field(default_factory=list)
    places: dict[str, dict[int, int]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    requests: dict[str, tuple[str, list[int]]] = field(default_factory=dict)
    state: State = State.ACTIVE
    window: int = 1

    def take(self, one: Submission) -> type[MeasurandError] | Opened | list[int]:
        """Return the sequences of the records, or why they are refused."""
        mine = self.places.setdefault(one.writer, {}) if one.writer else {}
        if one.opens:
            self.epochs[one.writer] = self.epochs.get(one.writer, 0) + 1
            return Opened(len(mine), self.epochs[one.writer])
        if one.request is not None and one.request.id in self.requests:
            asked, sequences = self.requests[one.request.id]
            return sequences if asked == one.request.fingerprint else RequestIdReused
        if one.writer and one.epoch and one.epoch < self.epochs.get(one.writer, 0):
            return WriterFenced
        if one.writer and one.first_number > len(mine) + 1:
            return WriterSequenceGap
        sequences, ids = list[int](), dict(self.ids)
        new: list[tuple[Record, int]] = []
        contents = {sequence: kept[0].data for sequence, kept in enumerate(self.records, start=1)}
        for number, item in enumerate(one.records, start=one.first_number or 1):
            if number in mine:
                sequences.append(mine[number])
                continue
            sequence = ids.get(item.id, 0) if item.id else 0
            if sequence and contents[sequence] != item.data:
                return RequestIdReused
            if not sequence:
                sequence = len(self.records) + len(new) + 1
                contents[sequence] = bytes(item.data)
                new.append((item, number))
                if item.id:
                    ids[item.id] = sequence
            sequences.append(sequence)
        if new and self.state is not State.ACTIVE:
            return Frozen if self.state is State.FROZEN else FailedPrecondition
        self.ids = ids
        self.records += [(item, one.writer, number if one.writer else 0, self.window) for item, number in new]
        if one.writer and one.first_number + len(one.records) - 1 > len(mine):
            self.epochs[one.writer] = max(self.epochs.get(one.writer, 0), one.epoch)
        if one.writer:
            mine |= dict(enumerate(sequences, start=one.first_number))
        if one.request is not None:
            self.requests[one.request.id] = (one.request.fingerprint, sequences)
        self.close_if_due()
        return sequences

    def close_if_due(self) -> None:
        in_window = sum(kept[3] == self.window for kept in self.records)
        if self.limit and in_window >= self.limit and self.state is State.ACTIVE:
            if self.is_rotating:
                self.window += 1
            else:
                self.state = State.FROZEN


WRITERS = st.sampled_from(["", "a", "b"])
RECORDS = st.lists(
    st.builds(record, st.sampled_from([b"", b"x", b"yy"]), st.sampled_from(["", "", "", "i1", "i2", "i3"])),
    min_size=1,
    max_size=4,
)


@st.composite
def submissions(draw: st.DrawFn) -> tuple[Submission, int]:
    """Give a submission, and by how much its first number differs from the next one."""
    writer = draw(WRITERS)
    if writer and draw(st.integers(0, 5)) == 0:
        return Submission((), 0, SOMEBODY, writer, opens=True), 0
    records = draw(RECORDS)
    request = None
    if not writer and draw(st.booleans()):
        asked = repr(records) if draw(st.integers(0, 3)) else "something else"
        request = Request(draw(st.sampled_from(["r1", "r2"])), asked, 0)
    epoch = draw(st.integers(0, 2)) if writer else 0
    return of(*records, writer=writer, epoch=epoch, request=request), draw(st.sampled_from([0, 0, 0, -1, -2, -3, 1]))


STEPS = st.one_of(
    st.lists(submissions(), min_size=1, max_size=6),
    st.sampled_from(["freeze", "unfreeze", "move", "lose"]),
)


@given(st.lists(STEPS, max_size=12), st.sampled_from([0, 0, 3, 5]), st.booleans())
def test_whatever_comes_is_decided_as_the_model_does(
    steps: list[list[tuple[Submission, int]] | str], limit: int, is_rotating: bool
) -> None:
    head = replace(EMPTY, policy=Policy(freeze_after_records=limit, rotate=is_rotating))
    model, moved = Model(limit, is_rotating), Moved()
    is_lost = False
    for step in steps:
        head = head_of(head_document(head))
        if step == "lose":
            is_lost = True
        elif step == "move":
            moved = Moved(
                ids={**moved.ids, **head.ids},
                requests={**moved.requests, **head.requests},
                writers={**moved.writers, **head.writers},
            )
            head = without(head, moved)
        elif step == "freeze" and head.state is State.ACTIVE:
            head, model.state = frozen(head, NOW, "users/trainer"), State.FROZEN
        elif step == "unfreeze" and head.state is State.FROZEN:
            head, model.state = closed(head, NOW, "users/trainer"), State.ACTIVE
            model.window += 1
        elif isinstance(step, list):
            numbered = _numbered(model, step)
            if is_lost:  # another server was faster, or the store was full: it is as if it had never been decided
                decide(head, numbered, NOW, _known(head, numbered, moved))
                is_lost = False
            head = _check(head, model, numbered, moved)


def _numbered(model: Model, step: list[tuple[Submission, int]]) -> list[Submission]:
    """Give submissions the numbers of writers that send one after the other, but for the slips."""
    following = {writer: len(model.places.get(writer, ())) + 1 for writer in "ab"}
    numbered = []
    for one, slip in step:
        if one.writer and not one.opens:
            first = max(1, following[one.writer] + slip)
            following[one.writer] = max(following[one.writer], first + len(one.records))
            one = replace(one, first_number=first)
        numbered.append(one)
    return numbered


def _known(head: Head, step: Sequence[Submission], moved: Moved) -> Known:
    """Look up what the decision asks for, and nothing else."""
    ids, requests, writers = sought(head, step)
    return Known(
        {key: moved.ids[key] for key in ids & moved.ids.keys()},
        {key: moved.requests[key] for key in requests & moved.requests.keys()},
        {key: moved.writers[key] for key in writers & moved.writers.keys()},
    )


def _check(head: Head, model: Model, step: Sequence[Submission], moved: Moved) -> Head:
    before = len(model.records)
    decision = decide(head, step, NOW, _known(head, step, moved))
    for one, answer in zip(step, decision.answers, strict=True):
        there = len(model.records)
        expected = model.take(one)
        if isinstance(expected, type):
            assert type(answer) is expected
        elif isinstance(expected, Opened):
            assert answer == expected
        else:
            _check_stored(model, one, answer, expected, there)
    new = model.records[before:]
    assert [item for cut in decision.cuts for item in cut.records] == [item for item, *_ in new]
    place = 0
    for cut in decision.cuts:
        assert cut.first == before + place + 1
        writers = {at + i: (name, number + i) for at, count, name, number in cut.writers for i in range(count)}
        for index, item in enumerate(cut.records):
            _, writer, number, window = new[place + index]
            assert cut.window == window
            assert writers.get(index, ("", 0)) == (writer, number)
            assert item is new[place + index][0]
        assert cut.counted == sum(len(item.data) for item in cut.records)
        place += len(cut.records)
    after = decision.head
    in_window = [item for item, _, _, window in model.records if window == model.window]
    assert (after.next_sequence, after.window, after.state) == (len(model.records) + 1, model.window, model.state)
    assert after.window_records == len(in_window)
    assert after.window_counted == sum(len(item.data) for item in in_window)
    return after


def _check_stored(model: Model, one: Submission, answer: Answer, expected: list[int], before: int) -> None:
    assert isinstance(answer, Stored)
    assert answer.count == len(expected)
    assert answer.first in (expected[0], 0)
    number = one.first_number or 1
    told = {run.number + i: (run.first + i, run.window) for run in answer.runs for i in range(run.count)}
    for at, (sequence, window) in told.items():
        assert sequence == expected[at - number]
        assert window in (model.records[sequence - 1][3], 0)
    assert told.keys() >= {number + i for i, sequence in enumerate(expected) if sequence > before}  # at least the new
