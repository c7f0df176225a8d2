"""Changing groups: those that want something of one group at the same time share one conditional write of it.

What becomes of each is decided on the newest state, one after the other, and again if another process was faster. What
changed nothing is answered only from a state that was just read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from measurand.core.buffers.changing import change_head
from measurand.core.buffers.delivering import Sight, candidates
from measurand.core.buffers.group_documents import (
    GIVEN_UP,
    GROUPS,
    GivenUp,
    Group,
    given_up_document,
    group_document,
    group_of,
    is_gone,
)
from measurand.core.buffers.heads import EventKind, Head
from measurand.core.buffers.live import Board
from measurand.core.buffers.pages import span_of
from measurand.core.buffers.picking import locate
from measurand.core.buffers.reading import Records
from measurand.core.buffers.windows import SYSTEM
from measurand.core.means import Means
from measurand.core.names import GroupName
from measurand.core.ports import DocumentStore
from measurand.core.times import from_microseconds, microseconds
from measurand.wire.errors import Contention, MeasurandError, NotFound

__all__ = ["Scene", "Sharing", "missing_group"]

TRIES = 60
MOST_KNOWN = 1000
TRUSTED_SECONDS = 5.0
"""What this process knows of a group is read again after so long."""
MOST_NAMED = 20
"""So many sequences are named in one event."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a decision is made on, beside the group.

    Parameters
    ----------
    now : int
        In microseconds since 1970.
    head : Head, optional
        Of the buffer, and what must be known of records that may be claimed; for those who want records.
    """

    now: int
    head: Head | None = None
    seen: Mapping[int, Sight] = field(default_factory=dict)


Decide = Callable[[Group, Scene], tuple[Group, Result]]


@dataclass(slots=True, eq=False)
class _Item:
    decide: Decide[Any]
    wants: int
    answer: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class _Lane:
    waiting: list[_Item] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class _Standing:
    group: Group
    revision: int
    time: float


class Sharing:
    """Changes groups by what they are now."""

    def __init__(self, documents: DocumentStore, records: Records, board: Board, means: Means) -> None:
        self._documents = documents
        self._records = records
        self._board = board
        self._means = means
        self._lanes: dict[GroupName, _Lane] = {}
        self._known: OrderedDict[GroupName, _Standing] = OrderedDict()
        self._news: WeakValueDictionary[GroupName, asyncio.Event] = WeakValueDictionary()

    async def change(self, name: GroupName, decide: Decide[Result], *, wants: int = 0) -> Result:
        """Replace a group by what `decide` makes of it, and return what it says beside; durable then.

        Parameters
        ----------
        decide : callable
            Without I/O. Called again when another process was faster; the very same group leaves it as it is.
        wants : int
            So many records may be claimed: the scene then has the head and what must be known of them.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such group, or no such buffer.
        Contention
            CONTENTION: others were faster too often.
        """
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        lane = self._lanes.setdefault(name, _Lane())
        lane.waiting.append(_Item(decide, wants, answer))
        if lane.task is None:
            lane.task = asyncio.create_task(self._drain(name, lane), name=f"group {name}")
        return await answer

    def news(self, name: GroupName) -> asyncio.Event:
        """Return what is set at the next change of a group by this process."""
        news = self._news.get(name)
        if news is None:
            news = self._news[name] = asyncio.Event()
        return news

    def forget(self, name: GroupName) -> None:
        """Read the group anew before anything is decided, and wake those who wait for it."""
        self._known.pop(name, None)
        self._tell(name)

    async def write_down(self, name: GroupName) -> None:
        """Keep what was given up where it is listed, and note it in the log; then leave it out of the group."""
        standing, _ = await self._standing(name)
        group, given_up = standing.group, standing.group.giving_up
        if not given_up:
            return
        await self._documents.insert_many(GIVEN_UP, [given_up_document(group, one) for one in given_up])
        message, since = _message(group, given_up), given_up[0].time

        def note(head: Head) -> Head | None:
            if head.uid != group.uid or any(event.message == message and event.time >= since for event in head.events):
                return None  # whoever did this before did not get to leave it out of the group
            return head.noting(EventKind.RECORD_GIVEN_UP, from_microseconds(max(since, now())), SYSTEM, message)

        def now() -> int:
            return microseconds(self._means.now())

        await change_head(self._documents, self._board, self._means, name.parent, note)
        await self._stored(standing, replace(group, giving_up=()))

    async def close(self) -> None:
        """Return when everything that was wanted has been answered."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _drain(self, name: GroupName, lane: _Lane) -> None:
        await asyncio.sleep(0)  # whoever is ready in this turn of the loop joins the first round
        while lane.waiting:
            items, lane.waiting = lane.waiting, []
            try:
                await self._round(name, items)
            except Exception as error:
                self._known.pop(name, None)
                for item in items:
                    if not item.answer.done():
                        item.answer.set_exception(error)
        del self._lanes[name]

    async def _round(self, name: GroupName, items: Sequence[_Item]) -> None:
        for number in range(TRIES):
            standing, was_known = await self._standing(name)
            items = [item for item in items if not item.answer.cancelled()]
            scene = await self._scene(standing.group, sum(item.wants for item in items))
            if scene.head is not None and scene.head.uid != standing.group.uid:
                self._known.pop(name, None)
                if was_known:
                    continue
                raise missing_group(name)
            group = standing.group
            answers: list[tuple[_Item, Any, MeasurandError | None]] = []
            for item in items:
                try:
                    group, result = item.decide(group, scene)
                    answers.append((item, result, None))
                except MeasurandError as error:
                    answers.append((item, None, error))
            if group is standing.group:
                if was_known:  # another process may know better
                    self._known.pop(name, None)
                    continue
            elif not await self._stored(standing, group):
                await asyncio.sleep(self._means.random_bytes(1)[0] / 255 * min(0.002 * (number + 1), 0.1))
                continue
            for item, result, failure in answers:
                if item.answer.done():
                    continue
                if failure is None:
                    item.answer.set_result(result)
                else:
                    item.answer.set_exception(failure)
            if group.giving_up:
                with contextlib.suppress(MeasurandError):  # it stands in the group until somebody succeeds
                    await self.write_down(name)
            return
        raise Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1)

    async def _standing(self, name: GroupName) -> tuple[_Standing, bool]:
        """Return a group, and whether it is what this process knew; that is trusted for a moment only."""
        known = self._known.get(name)
        if known is not None and asyncio.get_running_loop().time() - known.time < TRUSTED_SECONDS:
            return known, True
        document = await self._documents.fetch(GROUPS, str(name))
        if document is None or is_gone(document):
            raise missing_group(name)
        return self._keep(group_of(document), document.revision), False

    def _keep(self, group: Group, revision: int) -> _Standing:
        standing = _Standing(group, revision, asyncio.get_running_loop().time())
        self._known[group.name] = standing
        self._known.move_to_end(group.name)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return standing

    async def _stored(self, standing: _Standing, group: Group) -> bool:
        document = await self._documents.replace(GROUPS, group_document(group), expected_revision=standing.revision)
        if document is None:
            self._known.pop(group.name, None)
            return False
        self._keep(group, document.revision)
        self._tell(group.name)
        return True

    def _tell(self, name: GroupName) -> None:
        if news := self._news.pop(name, None):
            news.set()

    async def _scene(self, group: Group, wants: int) -> Scene:
        now = microseconds(self._means.now())
        if not wants:
            return Scene(now)
        head = await self._board.newest(group.name.parent)
        if head.uid != group.uid:
            return Scene(now, head)
        seen: dict[int, Sight] = {}
        span, with_parts = span_of(head), group.settings.whole_sets
        wanted = candidates(group, now, head, wants)
        # What is damaged or gone is claimed unseen and alone, so that the one who gets it is told.
        for picked in await locate(self._records.segments, span, wanted, as_far_as_sound=True):
            for index in picked.indices:
                part = picked.table.record(index, b"").part if with_parts else None
                seen[picked.segment.first + index] = Sight(picked.table.sizes[index], picked.segment.time, part)
        return Scene(now, head, seen)


def missing_group(name: GroupName) -> NotFound:
    """Return the error for a group that is not there."""
    return NotFound(f"{name}: there is no such group; make it, or look for a slip in the name", resource=name)


def _message(group: Group, given_up: Sequence[GivenUp]) -> str:
    named = ", ".join(str(one.sequence) for one in given_up[:MOST_NAMED])
    more = f" and {len(given_up) - MOST_NAMED} more" if len(given_up) > MOST_NAMED else ""
    what = "record" if len(given_up) == 1 else "records"
    return f"group {group.name.group} has given up {what} {named}{more} after {given_up[0].attempts} deliveries"
