"""Records on their way into a buffer: those that wait at the same time share one blob and one write of the head.

First the bytes are stored, then the head that names them: only then is anything acknowledged. While one group is at
the store the next one gathers. What becomes of a group is decided when it has gathered, on the head as it will be after
the groups before it; if another process has written the head meanwhile, it is decided anew, with all groups that have
become ready until then, so that a server which keeps losing the race has the more to store when it wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace

from measurand.core.buffers.answering import answer_all, end, fail, settle
from measurand.core.buffers.courtesy import Courtesies, Courtesy
from measurand.core.buffers.deciding import decide
from measurand.core.buffers.documents import blob_key
from measurand.core.buffers.heads import Head, Segment
from measurand.core.buffers.lanes import Group, Item, Lane, Piece, Try, first_group, is_same, with_segments
from measurand.core.buffers.leading import Leading
from measurand.core.buffers.live import Board
from measurand.core.buffers.queues import Queues
from measurand.core.buffers.records import make_table
from measurand.core.buffers.remembering import Remembering
from measurand.core.buffers.standing import Standing, find_standing, removed, stored
from measurand.core.buffers.submissions import Cut, Known, Opened, Stored, Submission, sought
from measurand.core.buffers.tidying import Tidying
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.policies import Policies
from measurand.core.ports import BlobStore, Buffer, DocumentStore
from measurand.core.principal import Principal
from measurand.core.ulid import make_ulid
from measurand.wire.errors import Contention, Unavailable

__all__ = ["Commits"]

GROUPS_AT_ONCE = 2
"""While one group is at the store, the next is made ready."""
GROUPS_CONTENDED = 8
"""So many while others keep writing the head."""
WHOLE_BYTES = 8 * 1024 * 1024
"""A smaller blob is put together in memory, for tails to read; of a larger one the records stay where they are."""
TRIES = 200
FAILURES = 3


class Commits:
    """Stores records. What it has answered is durable and seen by every later read.

    Parameters
    ----------
    leading : Leading, optional
        Which server commits for all that compete. None: each for itself.

    Attributes
    ----------
    queues : Queues
        Of what was submitted to this process and is not answered yet.
    """

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        board: Board,
        means: Means,
        limits: Limits,
        leading: Leading | None = None,
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._board = board
        self._means = means
        self._limits = limits
        self._policies = Policies(documents, means)
        self._remembering = Remembering(documents, means, limits)
        self._lanes: dict[str, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tidying = Tidying(self._remembering, means)
        self._courtesies = Courtesies(documents, means)
        self._leading = leading or Leading()
        self.queues = Queues()

    def submit(self, head: Head, submission: Submission) -> asyncio.Future[Stored]:
        """Hand records to the group that is gathering; the future tells where they are.

        Parameters
        ----------
        head : Head
            Of the buffer that is meant; it need not be the newest.

        Raises
        ------
        Frozen
            BUFFER_FROZEN. Nothing was stored.
        FailedPrecondition
            STATE_WRONG: the buffer is finished.
        WriterSequenceGap, WriterFenced
            See `measurand.core.buffers.deciding`.
        RequestIdReused
            REQUEST_ID_REUSED: a request id or record id was used before for something else.
        NotFound
            RESOURCE_NOT_FOUND: the buffer was removed.
        """
        return self._enqueue(head, submission)  # type: ignore[return-value]  # only an opening is answered otherwise

    def open(self, head: Head, principal: Principal, writer: str) -> asyncio.Future[Opened]:
        """Begin a new stream of a writer, which fences the one before; the future tells where the writer stands."""
        return self._enqueue(head, Submission((), 0, principal, writer, opens=True))  # type: ignore[return-value]

    async def close(self) -> None:
        """Return when everything that was submitted has been answered."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._tidying.close()

    # --------------------------------------------------------------------------------------------------- what gathers

    def _enqueue(self, head: Head, submission: Submission) -> asyncio.Future[Stored | Opened]:
        answer: asyncio.Future[Stored | Opened] = asyncio.get_running_loop().create_future()
        item = Item(submission, answer, submission.counted, head.uid)
        self.queues.add(item.uid, item.size)
        lane = self._lanes.get(head.uid)
        if lane is None:
            lane = self._lanes[head.uid] = Lane(head)
            if self._leading.has_ceased(head.name):
                self._board.forget(head.name)
            _ = self._spawn(self._drain(lane), f"records of {head.name}")
        lane.waiting.append(item)
        lane.news.set()
        return answer

    async def _drain(self, lane: Lane) -> None:
        """Let group after group gather, until nobody waits."""
        await asyncio.sleep(0)  # whoever is ready in this turn of the loop joins the first group
        while lane.waiting or lane.groups:
            most = GROUPS_CONTENDED if lane.is_contended else GROUPS_AT_ONCE
            putting = sum(group.putting is not None and not group.putting.done() for group in lane.groups)
            if lane.waiting and len(lane.groups) < most and putting < GROUPS_AT_ONCE:
                await self._gather(lane)
                continue
            if lane.groups and lane.naming is None:
                lane.naming = self._spawn(self._name_all(lane), f"head of {lane.head.name}")
            lane.news.clear()
            await lane.news.wait()
        del self._lanes[lane.head.uid]

    async def _gather(self, lane: Lane) -> None:
        """Decide on those who wait, as far as they fit into one group, and begin to store their bytes."""
        group = Group(first_group(lane.waiting))
        try:
            tip = lane.groups[-1].after if lane.groups else None
            if tip is None:
                standing = self._board.known(lane.head.name)
                if standing is None or standing.head.uid != lane.head.uid:
                    standing = await self._read(lane)
                tip = standing.head
            await self._tidying.wait_for(tip)
            await self._decide([group], tip)
        except Exception as error:
            fail(self.queues, group.items, error)
            return
        group.putting = self._spawn(self._put(group), "segment")
        group.putting.add_done_callback(lambda _: lane.news.set())
        lane.groups.append(group)
        await asyncio.sleep(0)

    async def _decide(self, groups: Sequence[Group], base: Head) -> None:
        """Decide on groups that follow each other. Blobs stay as they are where they take the same records as before.

        What was moved out of the head is looked up once for all of them: the longer a head is built upon, the more
        likely is another server to be faster.
        """
        for group in groups:
            for item in group.items:
                if item.submission.stream is not None and item.submission.stream.error is not None:
                    fail(self.queues, [item], item.submission.stream.error)
            settle(self.queues, [item for item in group.items if item.answer.done()])
            group.items = [item for item in group.items if not item.answer.done()]
        is_shared = self._courtesies.of(base).is_shared
        head = self._leading.named(self._tidying.left_out(base), is_shared=is_shared)
        ids, requests, writers = sought(head, [item.submission for group in groups for item in group.items])
        known = _UNKNOWN
        if ids or requests or writers:
            known = await self._remembering.look_up(head, ids, requests, writers)
        for group in groups:
            decision = decide(head, [item.submission for item in group.items], self._means.now(), known)
            before = [piece.cut for piece in group.pieces]
            if len(before) == len(decision.cuts) and all(map(is_same, before, decision.cuts)):
                for piece, cut in zip(group.pieces, decision.cuts, strict=True):
                    piece.cut = cut
                    piece.segment = replace(piece.segment, first=cut.first, window=cut.window, time=decision.time)
            else:
                group.pieces = [self._piece(cut, decision.time) for cut in decision.cuts]
            group.base, group.decision = base, decision
            group.after = base if decision.head is head else with_segments(decision.head, group.pieces)
            base = group.after
            head = base if decision.head is not head else head

    def _piece(self, cut: Cut, time: int) -> Piece:
        records = cut.records
        table = make_table(records, cut.writers)
        chunks: list[Buffer] = [table, *[record.data for record in records]]
        size = sum(map(len, chunks))
        whole = b"".join(chunks) if size <= WHOLE_BYTES else None
        events = [record.event_time for record in records if record.event_time is not None]
        segment = Segment(
            first=cut.first,
            count=len(records),
            window=cut.window,
            ulid=self._ulid(),
            size=size,
            table_size=len(table),
            table_crc=self._means.crc32c(table, 0),
            counted=cut.counted,
            time=time,
            first_event=min(events) if events else None,
            last_event=max(events) if events else None,
        )
        return Piece(cut, segment, chunks if whole is None else [whole], whole)

    def _ulid(self) -> str:
        return make_ulid(self._means.now(), self._means.random_bytes).lower()

    async def _put(self, group: Group) -> None:
        """Store the bytes of a group."""
        group.began = self._means.now()
        pieces = list(group.pieces)
        if pieces and group.base is not None:
            uid, policy = group.base.uid, await self._policies.of(group.base.name.parent)
            keys = [blob_key(uid, piece.segment.ulid) for piece in pieces]
            await asyncio.gather(
                *(self._blobs.put(key, piece.chunks, policy=policy) for key, piece in zip(keys, pieces, strict=True))
            )
        for piece in pieces:
            piece.is_stored = True

    # ------------------------------------------------------------------------------------------------------- the head

    async def _name_all(self, lane: Lane) -> None:
        """Name group after group in the head, several at once where they are ready."""
        while lane.groups:
            putting = lane.groups[0].putting
            assert putting is not None
            await asyncio.wait([putting])
            try:
                await self._name(lane)
            except Exception as error:
                self._board.forget(lane.head.name)
                for group in self._ready(lane):
                    end(self.queues, lane, group, error)
            lane.is_contended = False
            lane.news.set()
        lane.naming = None
        lane.news.set()

    def _ready(self, lane: Lane) -> list[Group]:
        """Return the groups whose bytes are stored, up to the first that is not; those that failed are answered."""
        ready = []
        for group in list(lane.groups):
            if group.putting is None or not group.putting.done():
                break
            error = group.putting.exception()
            if isinstance(error, Exception):
                end(self.queues, lane, group, error)
            else:
                ready.append(group)
        return ready

    async def _name(self, lane: Lane) -> None:
        courtesy = self._courtesies.of(lane.head)
        lane.is_contended = courtesy.is_shared
        lane.news.set()
        await courtesy.wait()
        try:
            await self._name_in_turn(lane, courtesy)
        finally:
            await courtesy.end()

    async def _name_in_turn(self, lane: Lane, courtesy: Courtesy) -> None:
        failures, clock = 0, asyncio.get_running_loop().time
        for number in range(TRIES):
            async with self._board.turn(lane.head.name):
                began, is_first = clock(), number == 0 and not courtesy.is_shared
                try:
                    if not (groups := self._ready(lane)):
                        return
                    if await self._try(lane, groups, courtesy, is_first=is_first):
                        courtesy.win(clock() - began)
                        return
                except Unavailable:  # what was asked of the store may have come about: look, and go on
                    self._board.forget(lane.head.name)
                    failures += 1
                    if failures == FAILURES:
                        raise
            lane.is_contended = True
            lane.news.set()
            await courtesy.come_again(number + 1)
        raise Contention(f"{lane.head.name}: others keep writing to it; try again", retry_seconds=0.1)

    async def _try(self, lane: Lane, groups: list[Group], courtesy: Courtesy, *, is_first: bool) -> bool:
        """Store the head that follows, and answer. False: another process was faster."""
        standing = self._board.known(lane.head.name) if is_first else None
        is_fresh = standing is None or standing.head.uid != lane.head.uid
        if standing is None or is_fresh:
            before = self._board.known(lane.head.name)
            standing = await self._read(lane)
            if before is not None and before.revision < standing.revision:
                courtesy.notice()
        courtesy.leads = self._leading.leads(standing.head)
        groups = [group for group in groups if not self._has_come_about(lane, group, standing.head)]
        base = standing.head
        for place, group in enumerate(groups):
            if group.base is not base:
                await self._decide(groups[place:], base)
            if self._is_late(group) or not all(piece.is_stored for piece in group.pieces):
                await self._put_again(group)
            assert group.after is not None
            base = group.after
        if base is standing.head:
            # Nothing is to be written, and so nothing has proved the answers, unless the head was read for them.
            if not is_fresh:
                return await self._try(lane, groups, courtesy, is_first=False)
            answer_all(self.queues, lane, groups)
            return True
        for group in groups:
            assert group.decision is not None
            segments = frozenset(piece.segment for piece in group.pieces)
            group.tries.append(Try(group.items, group.decision, segments))
        new = await stored(self._documents, standing, base)
        if new is None:
            courtesy.notice()
            return False
        for piece in (piece for group in groups for piece in group.pieces):
            self._board.publish(new.head, piece.segment, piece.whole, revision=new.revision)
        self._board.publish(new.head, revision=new.revision)
        answer_all(self.queues, lane, groups)
        self._tidying.begin(new.head)
        return True

    async def _read(self, lane: Lane) -> Standing:
        standing = await find_standing(self._documents, lane.head.name, lane.head.uid)
        if standing is None:
            self._board.forget(lane.head.name)
            raise removed(lane.head.name)
        self._board.publish(standing.head, revision=standing.revision)
        known = self._board.known(lane.head.name)
        return known if known is not None and known.revision == standing.revision else standing

    def _has_come_about(self, lane: Lane, group: Group, head: Head) -> bool:
        """Answer a group whose head was written although we have not heard so."""
        if group.tries:
            there = frozenset(head.segments)
            for one in group.tries:
                if one.segments and one.segments <= there:
                    group.items, group.decision = list(one.items), one.decision
                    answer_all(self.queues, lane, [group])
                    return True
        return False

    def _is_late(self, group: Group) -> bool:
        """Tell whether the machine has slept, so that the collector may have taken the blobs for garbage."""
        return group.began is not None and self._means.now() - group.began > self._limits.blob_grace / 2

    async def _put_again(self, group: Group) -> None:
        """Store the bytes of a group under new keys."""
        for piece in group.pieces:
            piece.is_stored = False
            piece.segment = replace(piece.segment, ulid=self._ulid())
        await self._put(group)
        assert group.decision is not None and group.after is not None
        if group.pieces:
            group.after = with_segments(group.decision.head, group.pieces)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


_UNKNOWN = Known()
