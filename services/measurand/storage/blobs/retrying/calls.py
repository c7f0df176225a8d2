"""One call of a store, with all its tries: when the next one comes, and when it is time to give up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from measurand.storage.blobs.retrying.measure import Budget, Circuit, Pass
from measurand.wire.errors import MeasurandError, Unavailable

__all__ = ["Call", "Calls"]

logger = logging.getLogger(__name__)

_FIRST_SECONDS = 0.2
_LONGEST_SECONDS = 2.0


class Calls:
    """What the calls of one store have in common.

    Parameters
    ----------
    name : str
        The store, for errors and the log.
    tries : int
        Most tries of a call, or of a read from the last bytes that came.
    seconds : float
        After so long no other try is begun. One that runs is not cut off: its time limit is the driver's.
    """

    def __init__(
        self,
        name: str,
        *,
        tries: int,
        seconds: float,
        budget: Budget,
        chance: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        monotonic: Callable[[], float],
    ) -> None:
        self.name = name
        self.tries = tries
        self.seconds = seconds
        self.budget = budget
        self.circuit = Circuit()
        self.chance = chance
        self.sleep = sleep
        self.monotonic = monotonic
        self.retries = 0
        self._store = ""

    def begin(self) -> Call:
        """Begin a call. Raises Unavailable at once while the circuit is open."""
        now = self.monotonic()
        self.budget.earn(now)
        entry = self.circuit.enter(now)
        if entry is None:
            raise self.refusal(now)
        return Call(self, entry)

    def check(self) -> None:
        """Raise Unavailable while the circuit is open. For what is asked of the store without being counted."""
        now = self.monotonic()
        if self.circuit.wait_seconds(now) > 0.0:
            raise self.refusal(now)

    def refusal(self, now: float) -> Unavailable:
        """Return the error of a call that was not let through."""
        seconds = self.circuit.wait_seconds(now)
        return Unavailable(
            f"{self.name} does not answer and is left alone for {seconds:.1f} s; try again then",
            retry_seconds=seconds,
            **({"store": self._store} if self._store else {}),
        )

    def note_failure(self, entry: Pass, error: Unavailable) -> None:
        was_open, self._store = self.circuit.is_open, error.details.get("store", "")
        self.circuit.failed(entry, self.monotonic())
        if self.circuit.is_open and not was_open:
            logger.warning("event=store_left_alone store=%s message=%s", self.name, error.message)

    def note_answer(self) -> None:
        was_open = self.circuit.is_open
        self.circuit.answered()
        if was_open:
            logger.info("event=store_answers store=%s", self.name)


class Call:
    """A call: a block in which `failed` waits for the next try, or raises what the last one has failed with.

    Attributes
    ----------
    tries : int
        How many have failed since the store last answered.
    is_telling : bool
        That the block ends, or ends with an error of the product that no time mends, shows that the store answers.
    """

    def __init__(self, calls: Calls, entry: Pass) -> None:
        self._calls = calls
        self._entry = entry
        self._began = calls.monotonic()
        self.tries = 0
        self.is_telling = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Unavailable) and self._hint(error) is not None:
            self._calls.note_failure(self._entry, error)
        elif self.is_telling and (error is None or isinstance(error, MeasurandError)):
            self._calls.note_answer()
        else:
            self._calls.circuit.left(self._entry)

    def answered(self) -> None:
        """Begin to count anew: the store has answered, and what follows is another question."""
        self.tries = 0
        self._entry = "call"
        self._calls.note_answer()

    def waited(self) -> None:
        """Leave out the time that the caller took."""
        self._began = self._calls.monotonic()

    async def failed(self, error: Unavailable) -> None:
        """Return when it is time for another try; raise `error` if there shall be none."""
        self.tries += 1
        seconds = self._wait_seconds(error)
        if seconds is not None:
            await self._calls.sleep(seconds)
            entry = self._calls.circuit.enter(self._calls.monotonic())  # others may have opened it meanwhile
            if entry is not None:
                self._entry = entry
                self._calls.retries += 1
                return
        if self.tries > 1:
            error.details["tries"] = str(self.tries)
        raise error

    def _hint(self, error: Unavailable) -> float | None:
        """Return the time that the error names; None if somebody must mend something, so that it is an answer like a
        refusal.
        """
        hint = error.retry_seconds
        return hint if hint is not None and hint <= self._calls.seconds else None

    def _wait_seconds(self, error: Unavailable) -> float | None:
        """Return how long to wait for the next try; None if there is to be none."""
        hint = self._hint(error)
        if hint is None:
            return None
        if self._entry == "probe" or self.tries >= self._calls.tries:
            return None
        backoff = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** (self.tries - 1)) * self._calls.chance()
        seconds = hint + backoff
        if self._calls.monotonic() - self._began + seconds > self._calls.seconds:
            return None
        return seconds if self._calls.budget.spend() else None
