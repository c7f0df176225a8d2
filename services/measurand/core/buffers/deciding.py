"""What comes of submissions: a function of the head, of them, and of what was moved out of the head. No I/O.

The head that it returns is stored under the condition that the one it was made from is still the newest; then, and only
then, the answers are true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from measurand.core.buffers.documents import RUNS_KEPT
from measurand.core.buffers.heads import EventKind, Head, Run, State, WriterState
from measurand.core.buffers.records import Record, counted_bytes
from measurand.core.buffers.standing import refusal
from measurand.core.buffers.submissions import (
    Answer,
    Cut,
    Decision,
    Known,
    Opened,
    Stored,
    Stream,
    Submission,
    sought,
)
from measurand.core.buffers.windows import SYSTEM, closed, due, frozen, lapsed
from measurand.core.requests import Request
from measurand.core.times import from_microseconds, microseconds
from measurand.wire.errors import Frozen, MeasurandError, RequestIdReused, WriterFenced, WriterSequenceGap

__all__ = ["Answer", "Cut", "Decision", "Known", "Opened", "Stored", "Stream", "Submission", "decide", "sought"]

RATE_SPAN = 10_000_000
RATE_SPANS = 7
MOST_REFUSED = 100
"""So many writers are noted as refused for one freeze."""


_Place = tuple[int, int, int, int | None]
"""Records next to each other: number and sequence of the first, count, window. None: they go into the open one."""


def decide(head: Head, submissions: Sequence[Submission], now: datetime, known: Known) -> Decision:
    """Return what comes of submissions, each by itself, in their order.

    What was stored before is answered again, whatever the state; nothing else gets into a window that is not open.
    """
    turn = _Turn(head, now, known)
    stopped: dict[int, MeasurandError] = {}
    answers: list[Answer] = []
    for submission in submissions:
        stream = id(submission.stream) if submission.stream is not None else 0
        if stream in stopped:
            answers.append(stopped[stream])
            continue
        try:
            answers.append(turn.take(submission))
        except MeasurandError as error:
            answers.append(error)
            if stream:
                stopped[stream] = error
    return Decision(turn.end(), answers, turn.cuts, turn.time)


class _Turn:
    """One decision on its way."""

    def __init__(self, head: Head, now: datetime, known: Known) -> None:
        self._known = known
        self.time = max(microseconds(now), head.last_time or 0)
        self._now = from_microseconds(self.time)
        self._head = lapsed(head, self._now) or head
        self.cuts: list[Cut] = []
        self._next = head.next_sequence
        self._counted = self._head.window_counted
        self._writers = dict(head.writers)
        self._ids = dict(head.ids)
        self._requests = dict(head.requests)
        self._has_changed = self._head is not head
        self._close_if_due()

    def take(self, submission: Submission) -> Stored | Opened:
        if submission.opens:
            return self._open(submission)
        if submission.request is not None and (before := self._asked_before(submission.request)):
            return before
        records: Sequence[Record] = submission.records
        runs: list[Run] = []
        new: list[_Place]
        if submission.writer:
            dropped, runs = self._numbered_before(submission)
            if dropped == len(records):
                return _stored(len(records), submission, runs)
            records = records[dropped:] if dropped else records
        if any(record.id for record in records):
            records, new, ids = self._without_known(submission, records)
        else:
            number = (submission.first_number or 1) + len(submission.records) - len(records)
            new, ids = [(number, self._next, len(records), None)], {}
        if records:
            self._require_open(submission)
        window = self._head.window
        runs += [Run(number, first, count, window if at is None else at) for number, first, count, at in new]
        if ids:
            self._ids.update(ids)
        if records:
            self._store(submission, records, new)
        if submission.writer:
            self._note_writer(submission, runs)
        answer = _stored(len(submission.records), submission, runs)
        if submission.request is not None:
            request = submission.request
            self._requests[request.id] = (request.fingerprint, answer.first, answer.count, answer.window)
            self._has_changed = True
        self._close_if_due()
        return answer

    def end(self) -> Head:
        """Return the head after all of it."""
        if not self._has_changed:
            return self._head
        stored, counted = sum(len(cut.records) for cut in self.cuts), sum(cut.counted for cut in self.cuts)
        head = self._synced()
        return replace(
            head,
            writers=self._writers,
            ids=self._ids,
            requests=self._requests,
            rates=_rates(head.rates, self.time, stored, counted) if stored else head.rates,
        )

    # ------------------------------------------------------------------------------------------------ what is known

    def _open(self, submission: Submission) -> Opened:
        state = self._state(submission.writer)
        self._writers[submission.writer] = replace(state, epoch=state.epoch + 1, time=self.time)
        self._has_changed = True
        return Opened(state.last, state.epoch + 1)

    def _state(self, writer: str) -> WriterState:
        return self._writers.get(writer) or self._known.writers.get(writer) or WriterState(0, 0, self.time)

    def _asked_before(self, request: Request) -> Stored | None:
        kept = self._requests.get(request.id) or self._known.requests.get(request.id)
        if kept is None:
            return None
        fingerprint, first, count, window = kept
        if fingerprint != request.fingerprint:
            raise RequestIdReused(
                f"request_id: {request.id!r} was used before for another request; make a new one for each change",
                field="request_id",
            )
        return Stored(first, count, window)  # some may have been dropped by their ids: where all are is not kept

    def _numbered_before(self, submission: Submission) -> tuple[int, list[Run]]:
        """Return how many of the records were stored before, by their numbers, and where, as far as that is known."""
        name, state = self._head.name, self._state(submission.writer)
        if submission.epoch and submission.epoch < state.epoch:
            raise WriterFenced(
                f"{name}: a newer stream of writer {submission.writer!r} has taken over; stop, or open a new one",
                resource=name,
                epoch=state.epoch,
            )
        first = submission.first_number
        if first > state.last + 1:
            raise WriterSequenceGap(
                f"{name}: writer {submission.writer!r} sent number {first} after {state.last}; send "
                f"{state.last + 1} next",
                expected_writer_sequence=state.last + 1,
            )
        dropped = min(len(submission.records), state.last + 1 - first)
        return dropped, _within(state.runs, first, dropped) if dropped else []

    def _without_known(
        self, submission: Submission, records: Sequence[Record]
    ) -> tuple[list[Record], list[_Place], dict[str, tuple[int, int]]]:
        """Drop records whose id is known. Return the others, where all of them are, and the new ids."""
        begin = (submission.first_number or 1) + len(submission.records) - len(records)
        fresh: list[Record] = []
        places: list[_Place] = []
        ids: dict[str, tuple[int, int]] = {}
        for number, record in enumerate(records, start=begin):
            sequence, window = self._next + len(fresh), None
            before = self._ids.get(record.id) or self._known.ids.get(record.id) or ids.get(record.id)
            if record.id and before is not None:
                if before[1] != record.crc32c:
                    raise RequestIdReused(
                        f"id: {record.id!r} was used before for a record with other bytes; make a new one for each",
                        field="id",
                    )
                sequence, window = before[0], self._window_of(before[0])
            else:
                fresh.append(record)
                if record.id:
                    ids[record.id] = (sequence, record.crc32c)
            start, first, count, at = places[-1] if places else (0, 0, 0, None)
            if count and first + count == sequence and at == window:
                places[-1] = (start, first, count + 1, window)
            else:
                places.append((number, sequence, 1, window))
        return fresh, places, ids

    def _window_of(self, sequence: int) -> int:
        """Return the window of a record, 0 if it is not known any more."""
        if sequence >= self._head.window_first:
            return self._head.window
        segments = self._head.segments
        held = next((segment for segment in reversed(segments) if segment.first <= sequence < segment.end), None)
        closing = next((one for one in self._head.closing if one.first <= sequence < one.end), None)
        return held.window if held is not None else closing.window if closing is not None else 0

    # --------------------------------------------------------------------------------------------- what is to change

    def _require_open(self, submission: Submission) -> None:
        """Raise what keeps records out of the window, having noted who was refused."""
        error = refusal(self._head)
        if error is None:
            return
        who = submission.writer or submission.principal.name
        freeze = self._head.freeze
        is_new = freeze is not None and who not in freeze.refused and len(freeze.refused) < MOST_REFUSED
        if isinstance(error, Frozen) and freeze is not None and is_new:
            head = replace(self._synced(), freeze=replace(freeze, refused=(*freeze.refused, who)))
            said = f"records of writer {who} were refused" if submission.writer else "records were refused"
            self._head = head.noting(EventKind.REFUSED, self._now, submission.principal.name, said)
            self._has_changed = True
        raise error

    def _store(self, submission: Submission, records: Sequence[Record], places: Sequence[_Place]) -> None:
        head = self._head
        if not self.cuts or self.cuts[-1].window != head.window:
            self.cuts.append(Cut(self._next, head.window))
        cut = self.cuts[-1]
        is_whole = len(records) == len(submission.records)
        counted = submission.counted if is_whole else sum([counted_bytes(record) for record in records])
        if submission.writer:
            at = len(cut.records)
            for number, first, count, window in places:
                if window is None:
                    _add_writer(cut.writers, at + first - self._next, count, submission.writer, number)
        cut.records.extend(records)
        cut.counted += counted
        self._counted += counted
        if head.window_first_time is None:
            self._head = replace(head, window_first_time=self.time)
        self._next += len(records)
        self._has_changed = True

    def _note_writer(self, submission: Submission, runs: Sequence[Run]) -> None:
        state = self._state(submission.writer)
        kept = list(state.runs)
        for run in runs:
            last = kept[-1] if kept else None
            if run.number <= state.last:
                continue
            if (
                last is not None
                and last.number + last.count == run.number
                and last.first + last.count == run.first
                and last.window == run.window
            ):
                kept[-1] = Run(last.number, last.first, last.count + run.count, last.window)
            else:
                kept.append(run)
        self._writers[submission.writer] = WriterState(
            submission.first_number + len(submission.records) - 1,
            max(state.epoch, submission.epoch),
            self.time,
            tuple(kept[-RUNS_KEPT:]),
        )
        self._has_changed = True

    def _close_if_due(self) -> None:
        """Freeze or rotate by the policy, if the window has reached one of its limits."""
        policy = self._head.policy
        has_limit = policy.freeze_after_records or policy.freeze_after_bytes or policy.freeze_after_age is not None
        if not has_limit or self._head.state is not State.ACTIVE:
            return
        head = self._synced()
        if why := due(head, self.time):
            self._head = (closed if policy.rotate else frozen)(head, self._now, SYSTEM, comment=why)
            self._counted = self._head.window_counted
            self._has_changed = True

    def _synced(self) -> Head:
        """Return the head with what was stored so far counted."""
        if self._next == self._head.next_sequence:
            return self._head
        return replace(self._head, next_sequence=self._next, window_counted=self._counted, last_time=self.time)


def _stored(count: int, submission: Submission, runs: Sequence[Run]) -> Stored:
    """Return the answer; where the first record is can be unknown, if it was stored long ago."""
    number = submission.first_number or 1
    is_known = bool(runs) and runs[0].number == number
    return Stored(runs[0].first if is_known else 0, count, runs[0].window if is_known else 0, tuple(runs))


def _within(runs: Sequence[Run], number: int, count: int) -> list[Run]:
    """Return the parts of runs that have these numbers."""
    found = []
    for run in runs:
        begin, end = max(run.number, number), min(run.number + run.count, number + count)
        if begin < end:
            found.append(Run(begin, run.first + begin - run.number, end - begin, run.window))
    return found


def _add_writer(writers: list[tuple[int, int, str, int]], at: int, count: int, writer: str, number: int) -> None:
    if writers:
        first, before, name, began = writers[-1]
        if name == writer and first + before == at and began + before == number:
            writers[-1] = (first, before + count, name, began)
            return
    writers.append((at, count, writer, number))


def _rates(
    rates: tuple[tuple[int, int, int], ...], time: int, records: int, counted: int
) -> tuple[tuple[int, int, int], ...]:
    span = time // RATE_SPAN
    if rates and rates[-1][0] == span:
        rates, (_, more_records, more_bytes) = rates[:-1], rates[-1]
        records, counted = records + more_records, counted + more_bytes
    return (*(rate for rate in rates if rate[0] > span - RATE_SPANS), (span, records, counted))
