"""Single appends on their way to the server that commits for this one, as many at a time as wait for it.

Whatever goes wrong on that way, the append is made here instead, at once: it has a request id, so what the other server
has stored after all is not stored again. What was handed over is committed where it arrives, and never handed on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from measurand.core.buffers.heads import Peer
from measurand.core.buffers.leading import Leading
from measurand.core.buffers.submissions import Stored
from measurand.core.names import BufferName
from measurand.wire.errors import Busy, Contention, FailedPrecondition, Internal, MeasurandError, Timeout, Unavailable

__all__ = ["Caller", "Relay", "Relaying"]

PATIENCE, SECONDS = 2.0, 3.0
"""A leader that takes longer is asked whether it is there at all; one that does not answer that is taken for dead."""
AT_ONCE = 4
"""So many calls are on their way to a leader; what comes meanwhile joins the next."""
MOST_BYTES, MOST_CALLS = 1024 * 1024, 500
"""The most in one call."""
WAITING_BYTES = 16 * 1024 * 1024
"""Where so much waits for one leader, appends are made here."""

# What another server may say that this one need not.
_ITS_OWN = (Busy, Contention, Internal, Timeout, Unavailable)

Caller = tuple[tuple[str, str], ...]
"""Who calls, as another server is to be told: the metadata that say so."""

Call = TypeVar("Call")
Out = TypeVar("Out", contravariant=True)


class Relay(Protocol[Out]):
    """The way to other servers."""

    async def __call__(self, peer: Peer, caller: Caller, calls: Sequence[Out]) -> Sequence[Stored | MeasurandError]:
        """Have appends of one caller to one buffer made by another server, and return what it says of each.

        Without any it answers at once.

        Raises
        ------
        FailedPrecondition
            STATE_WRONG: it does not commit for others.
        Busy
            SERVER_BUSY: it has no time.
        Unavailable
            STORE_UNAVAILABLE: no answer came.
        """
        ...


@dataclass(slots=True, eq=False)
class _Item(Generic[Call]):
    call: Call
    size: int
    answer: asyncio.Future[Stored | MeasurandError | None]


@dataclass(slots=True, eq=False)
class _Line(Generic[Call]):
    """What waits for one leader, of one buffer and one caller."""

    name: BufferName
    peer: Peer
    caller: Caller
    waiting: deque[_Item[Call]] = field(default_factory=deque)
    size: int = 0
    sending: int = 0


class Relaying(Generic[Call]):
    """Hands appends over to those who lead.

    Parameters
    ----------
    relay : Relay
        The way to them.
    """

    def __init__(self, leading: Leading, relay: Relay[Call]) -> None:
        self._leading = leading
        self._relay = relay
        self._lines: dict[tuple[Peer, BufferName, Caller], _Line[Call]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def leads(self, name: BufferName) -> bool:
        """Tell whether this server would make an append itself."""
        return self._leading.leader(name) is None

    async def append(
        self, name: BufferName, caller: Caller, call: Call, size: int, seconds: float | None = None
    ) -> Stored | None:
        """Have an append made by the leader. None: there is none, or none that answers; make it here.

        Parameters
        ----------
        call : Call
            Safe to repeat.
        size : int
            Its bytes.
        seconds : float, optional
            The longest wait for an answer. None: for as long as the leader is there.

        Raises
        ------
        MeasurandError
            What `Appending.append` would raise here, too.
        """
        peer = self._leading.leader(name)
        if peer is None:
            return None
        line = self._lines.get((peer, name, caller))
        if line is None:
            line = self._lines[peer, name, caller] = _Line(name, peer, caller)
        if line.size and line.size + size > WAITING_BYTES:
            return None
        item = _Item(call, size, asyncio.get_running_loop().create_future())
        line.waiting.append(item)
        line.size += size
        if line.sending < AT_ONCE:
            line.sending += 1
            task = asyncio.create_task(self._send(line), name=f"appends to {name} at {peer.address}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(seconds):
                answer = await item.answer
        except TimeoutError:
            return None
        if isinstance(answer, Stored):
            self._leading.note_stored(name, peer, answer.first, answer.count)
            return answer
        if answer is None or isinstance(answer, _ITS_OWN):
            return None
        raise answer

    async def close(self) -> None:
        """Wait for no more answers."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, line: _Line[Call]) -> None:
        items: list[_Item[Call]] = []
        try:
            await asyncio.sleep(0)  # whoever is ready in this turn of the loop joins
            while items := _take(line):
                answers = await self._ask(line, [item.call for item in items])
                for item, answer in zip(items, answers, strict=True):
                    _answer(item, answer)
        except FailedPrecondition:
            self._leading.leave(line.name, line.peer)
        except Busy:
            pass
        except (MeasurandError, TimeoutError):
            self._leading.note_away(line.peer)
        finally:
            line.sending -= 1
            if items:  # they are made here, and those behind them without trying
                for item in (*items, *line.waiting):
                    _answer(item, None)
                line.waiting.clear()
                line.size = 0
            if not line.sending and not line.waiting:
                self._lines.pop((line.peer, line.name, line.caller), None)

    async def _ask(self, line: _Line[Call], calls: Sequence[Call]) -> Sequence[Stored | MeasurandError]:
        """Return what the leader says, however long it takes while it is there."""
        asking = asyncio.ensure_future(self._relay(line.peer, line.caller, calls))
        try:
            while not (await asyncio.wait((asking,), timeout=PATIENCE))[0]:
                async with asyncio.timeout(SECONDS):
                    await self._relay(line.peer, line.caller, ())
            return asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


def _take(line: _Line[Call]) -> list[_Item[Call]]:
    """Take as many as go in one call, and are still waited for."""
    items: list[_Item[Call]] = []
    size = 0
    while line.waiting and len(items) < MOST_CALLS and (not items or size + line.waiting[0].size <= MOST_BYTES):
        item = line.waiting.popleft()
        line.size -= item.size
        if not item.answer.done():
            items.append(item)
            size += item.size
    return items


def _answer(item: _Item[Call], answer: Stored | MeasurandError | None) -> None:
    if not item.answer.done():  # a caller that has gone has cancelled it
        item.answer.set_result(answer)
