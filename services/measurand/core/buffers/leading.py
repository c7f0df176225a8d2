"""Which of the servers that compete for the head of a buffer commits for all of them: the one that the head names.

A commit of a contended head takes one server's callers, and leaves those of the others waiting. So whoever finds it
contended hands its single appends to the server that is named there, and leaves the name as it is; whoever is alone, or
gets no answer from there, names itself. The head is written on condition of its revision, so all agree on the name.
Nothing but speed depends on it: what is handed over twice carries a request id.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace

from measurand.core.buffers.courtesy import REMEMBERED
from measurand.core.buffers.heads import Head, Peer
from measurand.core.names import BufferName

__all__ = ["Leading"]

AWAY, LONGEST_AWAY = 10.0, 300.0
"""Seconds for which a server is left alone that did not answer: at first, and at most, when it never does."""
SHARE = 0.9
"""Who has appended so much of all itself need not follow anybody."""
MOST_KNOWN = 256


@dataclass(slots=True)
class _Following:
    """A buffer whose leader is another server.

    Parameters
    ----------
    time : float
        When that was decided, or confirmed.
    begin, end : int
        Sequences: of the first record that the leader has stored for this server since then, and behind the newest.
    count : int
        How many those were. What else lies between is of others.
    is_over : bool
        There is not enough of others any more.
    """

    peer: Peer
    time: float
    begin: int = 0
    end: int = 0
    count: int = 0
    is_over: bool = False


class Leading:
    """Whom this server follows, buffer by buffer.

    Parameters
    ----------
    instance : str
        Its own.

    Attributes
    ----------
    address : str
        Where other servers reach it. Empty: they do not, and it never leads.
    """

    def __init__(self, instance: str = "") -> None:
        self.address = ""
        self._instance = instance
        self._followed: OrderedDict[BufferName, _Following] = OrderedDict()
        self._away: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def leads(self, head: Head) -> bool:
        """Tell whether others hand their appends to this server."""
        return head.leader is not None and head.leader.instance == self._instance

    def leader(self, name: BufferName) -> Peer | None:
        """Return the server to hand an append to. None: this one commits itself."""
        following = self._followed.get(name)
        if following is None or following.is_over or self._is_away(following.peer):
            return None
        if _now() - following.time > REMEMBERED:
            if following.count >= SHARE * (following.end - following.begin):
                following.is_over = True
                return None
            following = self._followed[name] = _Following(following.peer, _now())
        return following.peer

    def has_ceased(self, name: BufferName) -> bool:
        """Tell, once, that this server has handed its appends over until now: it knows an old head only."""
        following = self._followed.get(name)
        if following is None or not following.is_over:
            return False
        del self._followed[name]
        return True

    def named(self, head: Head, *, is_shared: bool) -> Head:
        """Return the head that this server goes on from, with its leader: the one there is, or this server.

        Parameters
        ----------
        is_shared : bool
            Others have written the head lately.
        """
        peer = head.leader
        is_shared = is_shared or self.leader(head.name) is not None
        if is_shared and peer is not None and not self.leads(head) and not self._is_away(peer):
            self._follow(head.name, peer)
            return head
        self._followed.pop(head.name, None)
        if not self.address or peer == Peer(self._instance, self.address):
            return head
        return replace(head, leader=Peer(self._instance, self.address))

    def note_stored(self, name: BufferName, peer: Peer, first: int, count: int) -> None:
        """Note what a leader has stored for this server, which follows it only while there is enough of others."""
        self._away.pop(peer.instance, None)
        following = self._followed.get(name)
        if following is not None and following.peer == peer and first >= following.begin:
            following.begin = following.begin or first
            following.end = max(following.end, first + count)
            following.count += count

    def leave(self, name: BufferName, peer: Peer) -> None:
        """Follow a server no longer, which has said that it does not lead."""
        following = self._followed.get(name)
        if following is not None and following.peer == peer:
            del self._followed[name]

    def note_away(self, peer: Peer) -> None:
        """Follow a server no longer, which did not answer; the more often it does not, the longer."""
        until, seconds = self._away.pop(peer.instance, (0.0, AWAY / 2))
        if until <= _now():
            seconds = min(2 * seconds, LONGEST_AWAY)
            until = _now() + seconds
        self._away[peer.instance] = (until, seconds)
        while len(self._away) > MOST_KNOWN:
            self._away.popitem(last=False)

    def _follow(self, name: BufferName, peer: Peer) -> None:
        following = self._followed.get(name)
        if following is not None and following.peer == peer and not following.is_over:
            following.time = _now()
        else:
            self._followed[name] = _Following(peer, _now())
        self._followed.move_to_end(name)
        while len(self._followed) > MOST_KNOWN:
            self._followed.popitem(last=False)

    def _is_away(self, peer: Peer) -> bool:
        until, _ = self._away.get(peer.instance, (0.0, 0.0))
        return _now() < until


def _now() -> float:
    return asyncio.get_running_loop().time()
