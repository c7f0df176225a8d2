"""What becomes of records that a consumer holds, gathered until the server has said that it knows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from measurand.client.buffer_settings import duration
from measurand.v1 import buffers_pb2

__all__ = ["Settlements"]


class Settlements:
    """Gathers acknowledgements; one message of them is on its way at a time, and meanwhile the next one fills.

    Several threads may use it.
    """

    def __init__(self) -> None:
        self.held: set[int] = set()
        """Delivered, and nothing was said of them yet."""
        self._guard = threading.Lock()
        self._acknowledged: set[int] = set()
        self._returned: dict[int, float] = {}
        self._extended: set[int] = set()
        self._asked: set[int] = set()

    @property
    def is_empty(self) -> bool:
        """The server knows all."""
        return not (self._acknowledged or self._returned or self._extended or self._asked)

    def deliver(self, sequence: int) -> None:
        """Note that a record has come, perhaps once more."""
        with self._guard:
            self.held.add(sequence)

    def acknowledge(self, sequence: int) -> bool:
        """Note that a record is done; False: something was said of it before."""
        return self._say(sequence, lambda: self._acknowledged.add(sequence))

    def give_back(self, sequence: int, delay: float = 0.0) -> bool:
        """Note that a record is to be delivered again after so many seconds; False: something was said of it before."""
        return self._say(sequence, lambda: self._returned.update({sequence: delay}))

    def extend(self, sequence: int) -> None:
        """Note that a record is held for longer."""
        with self._guard:
            if sequence in self.held:
                self._extended.add(sequence)

    def next_message(self) -> buffers_pb2.Settlement | None:
        """Return what is to be sent now; None: nothing, or an answer is awaited."""
        with self._guard:
            if self._asked or not (self._acknowledged or self._returned or self._extended):
                return None
            message = buffers_pb2.Settlement(acknowledge=sorted(self._acknowledged), extend=sorted(self._extended))
            if self._returned:
                delay = min(self._returned.values())
                message.give_back.extend(sorted(key for key, value in self._returned.items() if value == delay))
                if delay > 0:
                    message.give_back_delay.CopyFrom(duration(delay))
            self._asked = {*message.acknowledge, *message.give_back}
            self._extended.clear()
            return message

    def answered(self, settled: Iterable[int], not_held: Iterable[int]) -> None:
        """Note what the server knows now."""
        gone = tuple(not_held)
        with self._guard:
            # Only what was asked for: of what was prolonged meanwhile something else may have been said since.
            for sequence in self._asked.intersection((*settled, *gone)):
                self._asked.discard(sequence)
                self._acknowledged.discard(sequence)
                self._returned.pop(sequence, None)
            self.held.difference_update(gone)

    def begin_again(self) -> None:
        """Note that the answer to what was sent will not come: it is to be sent again."""
        with self._guard:
            self._asked.clear()

    def _say(self, sequence: int, say: Callable[[], None]) -> bool:
        with self._guard:
            if sequence not in self.held:
                return False
            self.held.discard(sequence)
            say()
            return True
