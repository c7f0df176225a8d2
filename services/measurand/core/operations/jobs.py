"""An operation as its handler sees it: what is asked, how far it is, where to go on after a crash, when to stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

from measurand.core.means import Means
from measurand.core.operations.deciding import noted, told
from measurand.core.operations.documents import (
    MAX_TARGETS,
    Operation,
    OperationState,
    Problem,
    Progress,
    TargetProblem,
)
from measurand.core.operations.holding import Holding
from measurand.core.ports import Json
from measurand.core.principal import Principal
from measurand.wire.errors import MeasurandError

__all__ = ["MAX_CHECKPOINT_BYTES", "Handler", "Job", "Stopped"]

MAX_CHECKPOINT_BYTES = 2 * 1024 * 1024
MAX_MESSAGE = 200


class Stopped(Exception):  # what has happened
    """The operation was asked to stop. A handler lets it through, when it has undone what is half done."""


class Job:
    """One run of a handler. It may be the first, or one after a crash, which goes on from `state`.

    A handler returns the response as JSON. An error of `measurand.wire.errors` that it raises becomes the operation's
    problem; where waiting helps, it is called again first, with the state that it noted last. It may be cancelled at
    any `await`, when the server stops or the lease is lost; another run then follows, perhaps in another process. So
    each of its steps must be safe to do twice, and, for a moment, beside another run that has not noticed yet.
    """

    def __init__(self, holding: Holding, means: Means) -> None:
        self._holding = holding
        self._means = means
        self._progress = holding.operation.progress
        self._target_problems = {one.target: one.problem for one in holding.operation.target_problems}
        self.has_news = asyncio.Event()
        """Something was said that is not written yet. For the runner."""

    @property
    def operation(self) -> Operation:
        """As it stands in the store, as far as this process knows."""
        return self._holding.operation

    @property
    def arguments(self) -> Json:
        """What was asked."""
        return self.operation.arguments

    @property
    def targets(self) -> Sequence[str]:
        """The resources it works on; of more than 1000 the first ones."""
        return self.operation.targets

    @property
    def creator(self) -> Principal:
        """On whose behalf it works."""
        return Principal(self.operation.creator)

    @property
    def state(self) -> Json:
        """What was noted at the last checkpoint, perhaps by another run. None: it begins at the beginning."""
        return self.operation.checkpoint

    @property
    def is_cancelling(self) -> bool:
        """It was asked to stop."""
        return self.operation.state is OperationState.CANCELLING

    def check(self) -> None:
        """Raise Stopped if it was asked to stop. To be called where nothing is half done."""
        if self.is_cancelling:
            raise Stopped

    def progress(
        self, done: int | None = None, total: int | None = None, unit: str | None = None, message: str | None = None
    ) -> None:
        """Say how far it is; what is left out stays as it was. Written soon, at most five times a second."""
        said = Progress(
            done=self._progress.done if done is None else done,
            total=self._progress.total if total is None else total,
            unit=self._progress.unit if unit is None else unit[:MAX_MESSAGE],
            message=self._progress.message if message is None else message[:MAX_MESSAGE],
        )
        if said != self._progress:
            self._progress = said
            self.has_news.set()

    def fail_target(self, name: str, error: MeasurandError) -> None:
        """Note that one target failed, and go on with others. The first 1000 are kept."""
        if name in self._target_problems or len(self._target_problems) < MAX_TARGETS:
            self._target_problems[name] = Problem.of(error)
            self.has_news.set()

    async def checkpoint(self, state: Json) -> None:
        """Note where to go on after a crash, with all that was said before. Durable when it returns. A safe point.

        Parameters
        ----------
        state : Json
            Whatever the handler needs: at most 2 MiB as JSON, better a few hundred bytes.

        Raises
        ------
        Stopped
            It was asked to stop. The state is noted.
        Unavailable
            The store does not answer.
        """
        size = len(json.dumps(state, allow_nan=False))
        if size > MAX_CHECKPOINT_BYTES:
            raise ValueError(f"a state of {size} bytes; the most is {MAX_CHECKPOINT_BYTES}: note less of it")
        self.has_news.clear()
        await self._holding.change(lambda operation: noted(self.said(operation), state))
        self.check()

    def said(self, operation: Operation) -> Operation:
        """Return an operation with what was said of it last. For the runner."""
        problems = tuple(TargetProblem(target, problem) for target, problem in self._target_problems.items())
        return told(operation, self._progress, problems, self._means.now())


Handler = Callable[[Job], Awaitable[Mapping[str, Json]]]
"""Does operations of one kind, and returns the response as JSON."""
