"""Whatever happens to an operation in whatever order: it ends once, and what was asked for is not forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from measurand.core.operations import deciding
from measurand.core.operations.documents import (
    Operation,
    OperationState,
    Problem,
    Progress,
    operation_document,
    operation_of,
)
from measurand.wire.errors import NotFound

START = datetime(2026, 11, 21, tzinfo=UTC)


class Machine(RuleBasedStateMachine):
    """One operation, with what is to be true of it kept beside."""

    @initialize()
    def make(self) -> None:
        self.now = START
        self.operation = Operation(
            id="01JD8Y6T4GZQ5N3K7V2B9XWCMF", kind="work", creator="users/me", create_time=START, update_time=START
        )
        self.is_asked = False
        self.holder = ""
        self.begun = 0
        self.state: int | None = None
        self.losses = 0
        self.end: Operation | None = None

    def become(self, operation: Operation) -> None:
        assert operation.update_time >= self.operation.update_time
        assert operation.epoch >= self.operation.epoch
        self.operation = operation
        if operation.state.is_final and self.end is None:
            self.end, self.holder = operation, ""

    @rule(microseconds=st.integers(-1_000_000, 1_000_000))
    def set_the_clock(self, microseconds: int) -> None:
        self.now += timedelta(microseconds=microseconds)

    @precondition(lambda self: self.operation.is_free)
    @rule(runner=st.sampled_from(["one", "other"]))
    def begin(self, runner: str) -> None:
        self.begun += 1
        self.become(deciding.begun(self.operation, runner, self.now))
        self.holder = runner

    @precondition(lambda self: self.holder)
    @rule(state=st.integers(0, 9))
    def note(self, state: int) -> None:
        self.losses, self.state = 0, state
        self.become(deciding.noted(self.operation, state))

    @precondition(lambda self: self.holder)
    @rule(done=st.integers(0, 9))
    def tell(self, done: int) -> None:
        before = self.operation
        told = deciding.told(before, Progress(done, 9, "blobs"), (), self.now)
        assert (told is before) == (before.progress == Progress(done, 9, "blobs"))
        self.become(told)

    @precondition(lambda self: self.holder)
    @rule()
    def give_back(self) -> None:
        self.become(deciding.given_back(self.operation, self.now))
        self.holder = ""

    @precondition(lambda self: self.holder)
    @rule()
    def lose(self) -> None:
        self.losses += 1
        self.become(deciding.lost(self.operation, self.now))
        self.holder = ""
        assert (self.end is not None) == (self.losses == deciding.MOST_LOST)

    @rule()
    def cancel(self) -> None:
        before = self.operation
        self.become(deciding.cancelled(before, self.now))
        if self.is_asked or before.state.is_final:
            assert self.operation is before
        elif not self.begun:
            assert self.operation.state is OperationState.CANCELLED
        self.is_asked = True

    @precondition(lambda self: self.holder)
    @rule(how=st.sampled_from(["succeeded", "failed", "stopped"]))
    def finish(self, how: str) -> None:
        if how == "succeeded":
            self.become(deciding.succeeded(self.operation, {"done": 1}, self.now))
        elif how == "failed":
            self.become(deciding.failed(self.operation, Problem.of(NotFound("gone", resource="x")), self.now))
        else:
            self.become(deciding.stopped(self.operation, self.now))

    @invariant()
    def it_is_as_it_should_be(self) -> None:
        operation = self.operation
        assert operation.runner == self.holder
        assert operation.attempt == operation.epoch == self.begun
        assert (operation.start_time is not None) == (self.begun > 0)
        if self.end is not None:
            assert operation is self.end
            assert operation.state.is_final and not operation.is_free
            assert operation.end_time is not None and operation.expire_time == operation.end_time + deciding.KEPT
            assert (operation.response is not None) == (operation.state is OperationState.SUCCEEDED)
            assert (operation.problem is not None) == (operation.state is OperationState.FAILED)
            return
        assert operation.end_time is None
        assert operation.checkpoint == self.state
        assert operation.is_free == (not self.holder)
        if self.is_asked:
            assert operation.state is OperationState.CANCELLING
        else:
            assert operation.state is (OperationState.RUNNING if self.holder else OperationState.QUEUED)

    @invariant()
    def it_is_kept_as_it_is(self) -> None:
        assert operation_of(operation_document(self.operation)) == self.operation
        view = operation_document(self.operation).view
        assert any(entry.path == "unfinished" for entry in view) == (self.end is None)


def test_an_operation_ends_once_and_nothing_is_forgotten() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=40, stateful_step_count=20, deadline=None))


def test_a_long_error_is_kept_cut() -> None:
    details: dict[str, Any] = {f"k{n}": "v" * 9_999 for n in range(99)}
    problem = Problem.of(NotFound("x" * 10_000, **details))
    assert len(problem.message) == 500
    assert len(problem.details) == 8
    assert replace(problem, message="").error().reason == "RESOURCE_NOT_FOUND"
    assert Problem.of(NotFound("\ud800")).message.encode()
