"""How a server shares the head of a buffer with others that write it too, so that none of them starves.

A conditional write succeeds for whoever comes first: a server that writes again at once, from a head that it need not
read, would win over all that have to read it first. So whoever has noticed others leaves them time after each success;
what comes meanwhile joins its next group. Who has lost again and again asks the others to let it pass, by a small
document that they look for. Nothing but fairness depends on any of this: the revision of the head decides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict

from measurand.core.buffers.heads import Head
from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore
from measurand.wire.errors import MeasurandError

__all__ = ["TURNS", "Courtesies", "Courtesy"]

TURNS = "buffer_turns"
"""The collection of those who ask to be let pass: key the uid of the buffer, scope its name."""

REMEMBERED = 10.0
"""Seconds for which others are reckoned with after they were noticed."""
BUSY = 1.0
"""Seconds since it last wrote the head for which a server is busy."""
LOOKED, LOOKED_LEADING = 1.0, 0.1
"""Seconds between two looks of a busy server whether there is anybody else; of one that leads others that are there."""
STRAYED, STRAYED_TURNS = 0.25, 10.0
"""Seconds, or turns, for which a server that leads reckons with the others: they hand their single appends to it."""
PATIENCE = 1.0
"""Seconds for which others are let pass: who has asked may have died."""
GAP = 2.0
"""So many times as long as one turn takes is left to the others."""
LOST = 3
"""Who has lost so often asks to be let pass."""
SHORTEST, LONGEST = 0.002, 0.1
MOST_KNOWN = 256


class Courtesy:
    """What a server knows of the others that write one head.

    Attributes
    ----------
    leads : bool
        The others hand their single appends to this server; see `leading`. What they write themselves is the rest.
    """

    def __init__(self, documents: DocumentStore, means: Means, head: Head) -> None:
        self._documents = documents
        self._means = means
        self._asking = Document(head.uid, str(head.name), {"token": means.random_bytes(8).hex()})
        self._has_asked = False
        self._noticed = self._looked = self._won = -REMEMBERED
        self.leads = False
        self._turn = SHORTEST

    @property
    def is_shared(self) -> bool:
        """Others have written the head lately."""
        return _now() - self._noticed < (max(STRAYED, STRAYED_TURNS * self._turn) if self.leads else REMEMBERED)

    def notice(self) -> None:
        """Note that another server has written the head, or wants to."""
        self._noticed = _now()

    def win(self, seconds: float) -> None:
        """Note that this server has written it, in so many seconds from reading to writing."""
        if _now() - self._won > BUSY:
            self._looked = _now()  # it was idle, and held up nobody
        self._won = _now()
        self._turn += (min(max(seconds, SHORTEST), LONGEST) - self._turn) / 4

    async def wait(self) -> None:
        """Leave the head to others for a while, if there are any and this server wrote it last a short time ago."""
        is_busy = _now() - self._won < BUSY
        if self.is_shared or (is_busy and _now() - self._looked > self._look_seconds):
            await self._let_pass()
        if self.is_shared:
            left = self._won + GAP * self._turn * self._chance() - _now()
            if left > 0:
                await asyncio.sleep(left)

    async def come_again(self, tries: int) -> None:
        """Wait a little after another server was faster, and ask to be let pass when that was so too often."""
        if tries >= LOST and not self._has_asked:
            with contextlib.suppress(MeasurandError):
                self._has_asked = (await self._documents.insert_many(TURNS, [self._asking]))[0]
        if not self._has_asked:
            await self._let_pass()
        await asyncio.sleep(min(self._turn * self._chance() * tries / 4, LONGEST))

    async def end(self) -> None:
        """Ask no more to be let pass."""
        if self._has_asked:
            self._has_asked = False
            with contextlib.suppress(MeasurandError):  # others wait for a while, and then take it away
                await self._documents.remove(TURNS, self._asking.key)

    async def _let_pass(self) -> None:
        """Wait until nobody asks to be let pass, but no longer than they may have to be waited for."""
        began = self._looked = _now()
        with contextlib.suppress(MeasurandError):
            while (asking := await self._documents.fetch(TURNS, self._asking.key)) is not None:
                self.notice()
                if _now() - began > PATIENCE:
                    await self._documents.remove(TURNS, asking.key, expected_revision=asking.revision)
                    return
                await asyncio.sleep(self._turn * self._chance())

    @property
    def _look_seconds(self) -> float:
        return LOOKED_LEADING if self.leads and _now() - self._noticed < REMEMBERED else LOOKED

    def _chance(self) -> float:
        """Return something from 0.5 to 1.5: those who wait must not all come back at once."""
        return 0.5 + self._means.random_bytes(1)[0] / 255


class Courtesies:
    """What a server knows of the others, for each buffer that it has written lately."""

    def __init__(self, documents: DocumentStore, means: Means) -> None:
        self._documents = documents
        self._means = means
        self._known: OrderedDict[str, Courtesy] = OrderedDict()

    def of(self, head: Head) -> Courtesy:
        """Return what is known of others that write this head."""
        if head.uid not in self._known:
            self._known[head.uid] = Courtesy(self._documents, self._means, head)
        self._known.move_to_end(head.uid)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return self._known[head.uid]


def _now() -> float:
    return asyncio.get_running_loop().time()
