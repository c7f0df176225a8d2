"""Which blobs are to be repaired: one document for each, so that every server knows and none does it twice.

Whoever finds a part missing or damaged asks for a repair here. Those who repair take the most endangered blob first. To
take is to put off: if whoever took it dies, it comes up again a while later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from measurand.core.containers.placements import Placement
from measurand.core.containers.ports import Health
from measurand.core.filters.tree import Compare
from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore, Json, Order, Position
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry, Scalar

__all__ = ["LOST", "WANTED", "Want", "Wanted", "rank_of", "want_of"]

WANTED = "repairs_wanted"
"""The collection: key that of the blob."""

LOST = 99
"""The rank of blobs that can no longer be read in full: whatever can be saved goes first."""

AT_ONCE = 500
_CLAIM = timedelta(seconds=5)
"""So long nobody else takes what one has taken, unless it says again that it is at work."""
_MOST_REASON = 500


@dataclass(frozen=True, slots=True)
class Want:
    """A blob that is to be repaired.

    Parameters
    ----------
    rank : int
        What comes first: 0 was never whole, then 1 + how many more parts it can lose.
    bad : mapping
        How parts were found, by their keys: by the time somebody looks they may be others.
    due : datetime
        Not to be taken before.
    is_held : bool
        Somebody is at work on it, until it is due.
    stuck : int
        So many parts could not be made good when it was tried last.
    """

    blob: str
    rank: int
    bad: Mapping[str, Health]
    due: datetime
    stuck: int = 0
    why: str = ""
    is_held: bool = False
    revision: int = 0


def rank_of(placement: Placement, bad: Iterable[int]) -> int:
    """Return how soon a blob with these bad parts is to be repaired."""
    margin = placement.margin({*bad})
    if margin < 0:
        return LOST
    return 0 if placement.missing else 1 + margin


def want_of(placement: Placement, bad: Mapping[int, Health], now: datetime) -> Want:
    """Return the wish that these parts of a blob are made good."""
    found = {placement.parts[index].key: health for index, health in bad.items()}
    return Want(placement.blob, rank_of(placement, {*bad, *placement.missing}), found, now)


@dataclass(slots=True)
class Wanted:
    """All of them."""

    documents: DocumentStore
    means: Means
    counts: Mapping[int, int] = field(default_factory=dict)
    """How many there are of each rank, as last counted."""
    stuck: int = 0
    """Parts that could not be made good when they were tried last, as last counted."""

    async def ask(self, wants: Sequence[Want], *, is_new: bool = False) -> None:
        """Ask for repairs; what is asked for already becomes more urgent, if it has.

        Parameters
        ----------
        is_new : bool
            Try at once what was stuck.
        """
        for begin in range(0, len(wants), AT_ONCE):
            page = wants[begin : begin + AT_ONCE]
            stored = await self.documents.insert_many(WANTED, [_document(want) for want in page])
            there = {want.blob: want for want, is_new in zip(page, stored, strict=True) if not is_new}
            for key, document in (await self.documents.fetch_many(WANTED, list(there))).items() if there else ():
                known, want = _want(document), there[key]
                merged = replace(known, rank=min(known.rank, want.rank), bad={**known.bad, **want.bad})
                if is_new and (known.stuck or known.rank == LOST):
                    merged = replace(merged, due=want.due)
                if merged != known:
                    await self.documents.replace(WANTED, _document(merged), expected_revision=known.revision)

    async def take(self, limit: int) -> Sequence[Want]:
        """Return the most urgent ones, which nobody else takes for a while."""
        due = Compare("due", "<=", Scalar("t", microseconds(self.means.now())))
        found = await self.documents.find(WANTED, where=due, order=_BY_RANK, limit=limit)
        taken: list[Want] = []
        for want in (_want(item.document) for item in found):
            mine = await self.hold(want)
            if mine is not None:
                taken.append(mine)
        return taken

    async def put_off(self, want: Want, pause: timedelta, *, is_held: bool = False) -> Want | None:
        """Have it come up again later. None: somebody else has changed it."""
        later = replace(want, due=self.means.now() + pause, is_held=is_held)
        stored = await self.documents.replace(WANTED, _document(later), expected_revision=want.revision)
        return None if stored is None else replace(later, revision=stored.revision)

    async def hold(self, want: Want) -> Want | None:
        """Keep others from taking it for a while."""
        return await self.put_off(want, _CLAIM, is_held=True)

    async def has_held(self) -> bool:
        """Tell whether somebody is at work on one, or was until a short time ago."""
        return await self.documents.count(WANTED, where=Compare("held", "=", Scalar("b", True)), most=1) > 0

    async def done(self, want: Want) -> None:
        """Take it off the list, unless somebody has asked for more meanwhile."""
        await self.documents.remove(WANTED, want.blob, expected_revision=want.revision)

    async def count(self) -> None:
        """Count how many there are of each rank."""
        counts: Counter[int] = Counter()
        stuck, after = 0, None
        while page := await self.documents.find(WANTED, after=after, limit=AT_ONCE):
            for item in page:
                want = _want(item.document)
                counts[want.rank] += 1
                stuck += want.stuck
            after = Position((), page[-1].document.key)
        self.counts, self.stuck = counts, stuck


_BY_RANK = (Order("rank", required=True),)


def _document(want: Want) -> Document:
    body: dict[str, Json] = {
        "rank": want.rank,
        "bad": dict(want.bad),
        "due": microseconds(want.due),
        "stuck": want.stuck,
        "why": want.why[:_MOST_REASON],
        "held": want.is_held,
    }
    view = [
        Entry("rank", Scalar("n", want.rank)),
        Entry("due", Scalar("t", microseconds(want.due))),
        Entry("held", Scalar("b", want.is_held)),
    ]
    return Document(want.blob, "", body, view=view)


def _want(document: Document) -> Want:
    body = cast("Mapping[str, Any]", document.body)
    return Want(
        document.key,
        body["rank"],
        body["bad"],
        from_microseconds(body["due"]),
        body["stuck"],
        body["why"],
        body["held"],
        document.revision,
    )
