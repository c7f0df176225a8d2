"""The event log of a buffer: what happened to it, who did it, and when.

An event is noted in the head, in the very write that it tells of, and moves to a collection of its own later. So the
newest are looked for in the head, and what is not there any more, in the collection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from measurand.core.buffers.documents import event_of
from measurand.core.buffers.heads import Event, Head
from measurand.core.buffers.live import Board
from measurand.core.buffers.remembering import EVENTS
from measurand.core.catalogs import Catalogs
from measurand.core.filters.tree import Compare, Filter
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import BufferName
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import DocumentStore, Order, Position
from measurand.core.principal import Principal
from measurand.core.view import Scalar
from measurand.wire.errors import InvalidArgument

__all__ = ["EventPage", "Events"]


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, and the token of the next page; empty: this was the last."""

    events: Sequence[Event]
    next_page_token: str


class Events:
    """Reads event logs."""

    def __init__(
        self, documents: DocumentStore, catalogs: Catalogs, board: Board, means: Means, limits: Limits
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._board = board
        self._means = means
        self._limits = limits

    async def page(
        self,
        principal: Principal,
        parent: BufferName,
        *,
        size: int = 0,
        page_token: str = "",
        after_number: int | None = None,
        wait_seconds: float = 0.0,
    ) -> EventPage:
        """Return some events, newest first, or oldest first those after a number.

        Parameters
        ----------
        size : int
            So many at most. 0: the default.
        after_number : int, optional
            Oldest first, and only events after this one.
        wait_seconds : float
            With `after_number`: how long to wait for the first event, 0 to 30.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such buffer.
        InvalidArgument
            FIELD_INVALID, PAGE_TOKEN_INVALID.
        """
        most, longest = page_size(size, self._limits), self._limits.max_wait.total_seconds()
        if after_number is not None and after_number < 0:
            raise InvalidArgument(f"after_number: {after_number}; begin at 0", field="after_number")
        if not 0 <= wait_seconds <= longest:
            raise InvalidArgument(f"wait: {wait_seconds:g} seconds; wait 0 to {longest:g}", field="wait")
        await self._catalogs.require(principal, parent.parent)
        is_newest_first = after_number is None
        request = ("events", str(parent), str(is_newest_first))
        start = open_token(page_token, request=request, values=1, now=self._means.now())
        place = _number(start.after)
        if is_newest_first:
            head = (await self._board.read(parent)).head
            events = await self._before(head, head.next_event if place is None else place, most)
        else:
            after = place if place is not None else after_number or 0
            head = await self._board.newest(parent, None, wait_seconds, known_next_event=after + 1)
            events = await self._after(head, after, most)
        token = ""
        if len(events) == most and events[-1].number != (1 if is_newest_first else head.next_event - 1):
            number = events[-1].number
            token = make_token(
                Position((Scalar("n", number),), f"{head.uid}/{number:019d}"), request=request, now=start.now
            )
        return EventPage(events, token)

    async def follow(
        self, principal: Principal, name: BufferName, *, after_number: int = 0
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Yield the events after a number, oldest first, some at a time, and go on as they happen.

        Nothing at all is yielded whenever there was none for a heartbeat's time. Raises NotFound when the buffer is
        not there, or goes.
        """
        await self._catalogs.require(principal, name.parent)
        seconds, most = self._limits.heartbeat.total_seconds(), self._limits.max_page_size
        uid = (await self._board.read(name)).head.uid
        while True:
            head = await self._board.newest(name, None, seconds, known_next_event=after_number + 1)
            if head.uid != uid:
                uid, after_number = head.uid, 0  # another buffer has taken the name
            events = await self._after(head, after_number, most)
            yield events
            if events:
                after_number = events[-1].number

    async def _after(self, head: Head, number: int, most: int) -> list[Event]:
        newest = [event for event in head.events if event.number > number]
        end = newest[0].number if newest else head.next_event
        older: list[Event] = []
        if end > number + 1:
            older = await self._moved(head, Compare("number", ">", Scalar("n", number)), most, is_newest_first=False)
        return _merged([*older, *newest])[:most]

    async def _before(self, head: Head, number: int, most: int) -> list[Event]:
        newest = [event for event in head.events if event.number < number]
        older: list[Event] = []
        if len(newest) < most:
            older = await self._moved(head, Compare("number", "<", Scalar("n", number)), most, is_newest_first=True)
        return _merged([*older, *newest])[::-1][:most]

    async def _moved(self, head: Head, where: Filter, most: int, *, is_newest_first: bool) -> list[Event]:
        found = await self._documents.find(
            EVENTS,
            where=where,
            order=[Order("number", descending=is_newest_first, required=True)],
            key_prefix=f"{head.uid}/",
            limit=most,
        )
        return [event_of(item.document.body) for item in found]


def _merged(events: Sequence[Event]) -> list[Event]:
    """Return events in their order, each once: one that is just being moved is in two places."""
    by_number = {event.number: event for event in events}
    return [by_number[number] for number in sorted(by_number)]


def _number(position: Position | None) -> int | None:
    value = position.values[0] if position is not None else None
    return value.value if value is not None and isinstance(value.value, int) else None
