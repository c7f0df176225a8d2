"""A copy of the documents of a store that goes on being written to, in another store.

The copy is first made by walking through all collections, and then follows the changes of each. What it comes to in the
end is settled by looks at all collections in turn, each of which takes over what has changed since the look before:

- A look that finds nothing new proves that the copy is the store as it was at one moment, when that look began.
- If none does, the copy is as the last look left it: each collection as of its turn, some milliseconds apart. The turns
  go against the order in which the rules write: whatever a document relies on was written before it, and is looked at
  after it. So uploads come before the files that they become, files before the generations that they replace, those
  before datasets (a purge marks the dataset, then removes what is in it), datasets before what they were and before
  the ids that requests fixed, and all before catalogs. Archives lie behind their owners for the same reason, and yet
  are removed after the owner was marked; so what a look sees removed from them goes only at the next look, when
  the owner has been looked at once more. Staged arrays come before those in sight, and these before their index, whose
  chunks they rely on; only cutting an array down goes the other way, and what a look sees of that is settled by the
  next. Groups come before the heads of buffers, since they tell how far they have come in them; heads come before the
  datasets that are made of their windows, these before the notes of what became of windows, and all before segments,
  events and ids that have moved out of heads. Letting go of records goes the other way, and is settled by the next
  look as well. What may be too much then is taken away by `mending`; nothing is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from measurand.core.arrays.blocks import BLOCKS, block_of
from measurand.core.arrays.documents import ARRAYS, array_of
from measurand.core.buffers.batches import BATCHES, batch_of
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, index_of
from measurand.core.buffers.heads import Segment
from measurand.core.dataset_documents import DATASETS, is_purging
from measurand.core.means import Means
from measurand.core.moving.contents import CONTENTS, Content, portable
from measurand.core.moving.lines import walk
from measurand.core.moving.tally import Tally
from measurand.core.moving.writing import Writing
from measurand.core.ports import Document, DocumentStore, Position
from measurand.wire.errors import Busy, HistoryTrimmed

__all__ = ["Copying", "Cut"]

CHANGES_AT_ONCE = 500
WALKS = 10
KEEP_UP_SECONDS = 5.0
"""How long changes may wait while something else goes on. Stores keep them for a bounded time."""


@dataclass(frozen=True, slots=True)
class Cut:
    """When the copy is like its source.

    Parameters
    ----------
    first, last : datetime
        The beginning and the end of the last look. What was acknowledged before `first` is in the copy.
    is_exact : bool
        The copy is the source as it was at `first`.
    """

    first: datetime
    last: datetime
    is_exact: bool


@dataclass(slots=True)
class _Look:
    """What one look has found.

    Parameters
    ----------
    written : int
        Documents of the copy that had to be changed.
    is_torn : bool
        Something was put into an archive and was gone before it was read: its owner is being purged. Or an array was
        cut down before its index was read, and after it was looked at itself.
    """

    written: int = 0
    is_torn: bool = False
    withheld: dict[str, list[str]] = field(default_factory=dict)


class Copying:
    """Keeps the copy.

    Parameters
    ----------
    target : DocumentStore
        Where the copy is; nobody else writes to it.
    with_running : bool
        Uploads that are not at their end go as well; only for a source that nobody writes to.
    """

    def __init__(
        self,
        source: DocumentStore,
        target: DocumentStore,
        writing: Writing,
        means: Means,
        tally: Tally,
        *,
        with_running: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._writing = writing
        self._means = means
        self._tally = tally
        self._with_running = with_running
        self._tokens: dict[str, str] = {}
        self._withheld: dict[str, list[str]] = {}
        self._looked = means.monotonic()

    async def begin(self) -> None:
        """Make the copy like the source, but for what changes meanwhile. What is there already is not written again.

        Raises
        ------
        Busy
            SERVER_BUSY: so much is written that the source forgets changes before they can be taken over.
        """
        for _ in range(WALKS):
            for content in CONTENTS:
                self._tokens[content.name] = (await self._source.changes(content.name, after=None)).token
            self._looked = self._means.monotonic()
            try:
                for content in CONTENTS:
                    await self._walk(content)
            except HistoryTrimmed:
                continue  # more was written meanwhile than the store remembers: walk once more
            return
        raise Busy(
            "more is written to this store than can be copied; run this again when there is less", retry_seconds=600
        )

    async def keep_up(self) -> None:
        """Take over what has changed, if the last time was a while ago."""
        if self._means.monotonic() - self._looked >= KEEP_UP_SECONDS:
            await self._look_or_begin()

    async def cut(self, *, looks: int) -> Cut:
        """Settle what the copy is: look until nothing is new, but not more often than so."""
        looked = 0
        while True:
            first = self._means.now()
            look = await self._look_or_begin()
            looked += 1
            if not look.written or (looked >= looks and not look.is_torn):
                return Cut(first, self._means.now(), is_exact=not look.written and not look.is_torn)

    async def _walk(self, content: Content) -> None:
        """Go through a collection of both stores side by side."""
        after = ""
        async for batch in walk(self._source, content.name, content.at_once):
            last = batch[-1].key
            there = await self._between(content, after, last)
            await self._reconcile(content, {document.key: document for document in batch}, there)
            after = last
            self._tally.documents += len(batch)
            if self._means.monotonic() - self._looked >= KEEP_UP_SECONDS:
                await self._look()
        async for strangers in walk(self._target, content.name, content.at_once, after=after):
            await self._reconcile(content, {}, {document.key: document for document in strangers})

    async def _between(self, content: Content, after: str, last: str) -> Mapping[str, Document]:
        """Return the documents of the copy behind one key and up to another."""
        there: dict[str, Document] = {}
        position = Position((), after) if after else None
        while True:
            found = await self._target.find(content.name, after=position, limit=content.at_once)
            there |= {item.document.key: item.document for item in found if item.document.key <= last}
            if len(found) < content.at_once or found[-1].document.key > last:
                return there
            position = found[-1].position

    async def _look_or_begin(self) -> _Look:
        try:
            return await self._look()
        except HistoryTrimmed:
            await self.begin()
            return _Look(written=1)

    async def _look(self) -> _Look:
        """Look at all collections in turn, and take over what has changed since the last time."""
        self._looked = self._means.monotonic()
        look = _Look()
        due, self._withheld = self._withheld, look.withheld
        for content in CONTENTS:
            keys = due.get(content.name, [])
            for start in range(0, len(keys), content.at_once):
                await self._take_over(content, keys[start : start + content.at_once], look, may_remove=True)
            await self._follow(content, look)
        return look

    async def _follow(self, content: Content, look: _Look) -> None:
        while True:
            found = await self._source.changes(content.name, after=self._tokens[content.name], limit=CHANGES_AT_ONCE)
            keys = list(dict.fromkeys(change.key for change in found.changes))
            for start in range(0, len(keys), content.at_once):
                part = keys[start : start + content.at_once]
                await self._take_over(content, part, look, may_remove=not content.is_archive)
            self._tokens[content.name] = found.token
            if len(found.changes) < CHANGES_AT_ONCE:
                return

    async def _take_over(self, content: Content, keys: list[str], look: _Look, *, may_remove: bool) -> None:
        wanted = await self._source.fetch_many(content.name, keys)
        there = dict(await self._target.fetch_many(content.name, keys))
        if not may_remove:
            gone = [key for key in keys if key not in wanted]
            look.is_torn = look.is_torn or any(key not in there for key in gone)
            withheld = [key for key in gone if there.pop(key, None) is not None]
            look.withheld.setdefault(content.name, []).extend(withheld)
            look.written += len(withheld)
        if content.name == BLOCKS and not look.is_torn:
            look.is_torn = await self._is_cut(wanted, there)
        if content.name == SEGMENTS and not look.is_torn:
            look.is_torn = await self._is_trimmed(wanted, there)
        if content.name == BATCHES and not look.is_torn:
            look.is_torn = await self._is_released(wanted)
        look.written += await self._reconcile(content, wanted, there)

    async def _is_cut(self, wanted: Mapping[str, Document], there: Mapping[str, Document]) -> bool:
        """Tell whether chunks have left the index that the copy of their array still relies on."""
        names: set[str] = set()
        for key, document in there.items():
            before, now = block_of(document), wanted.get(key)
            after = block_of(now).entries if now is not None else {}
            if any(after.get(index) != entry for index, entry in before.entries.items()):
                names.add(str(before.array))
        for start in range(0, len(names), CHANGES_AT_ONCE):
            part = sorted(names)[start : start + CHANGES_AT_ONCE]
            present = await self._source.fetch_many(ARRAYS, part)
            copied = await self._target.fetch_many(ARRAYS, part)
            if any(_is_cut(document, present.get(name)) for name, document in copied.items()):
                return True
        return False

    async def _is_trimmed(self, wanted: Mapping[str, Document], there: Mapping[str, Document]) -> bool:
        """Tell whether segments have left an index that the copy of their buffer, or of a batch, still relies on."""
        names: set[str] = set()
        for key, document in there.items():
            now = wanted.get(key)
            after = frozenset(index_of(now).segments) if now is not None else frozenset[Segment]()
            if not after.issuperset(index_of(document).segments):
                names.add(document.scope)
        for name in names:
            copied, present = await self._target.fetch(BUFFERS, name), await self._source.fetch(BUFFERS, name)
            if copied is not None and (present is None or _reach(present) != _reach(copied)):
                return True
        return False

    async def _is_released(self, wanted: Mapping[str, Document]) -> bool:
        """Tell whether batches were let go of whose dataset the copy still has, since it was looked at before."""
        released = [batch for batch in map(batch_of, wanted.values()) if batch.released is not None]
        names = [str(batch.dataset) for batch in released if batch.dataset is not None]
        for start in range(0, len(names), CHANGES_AT_ONCE):
            part = names[start : start + CHANGES_AT_ONCE]
            copied = await self._target.fetch_many(DATASETS, part)
            if any(not is_purging(document) for document in copied.values()):
                return True
        return False

    async def _reconcile(self, content: Content, found: Mapping[str, Document], there: Mapping[str, Document]) -> int:
        moved = (portable(content, document, with_running=self._with_running) for document in found.values())
        return await self._writing.reconcile(content, [document for document in moved if document is not None], there)


def _is_cut(copied: Document, present: Document | None) -> bool:
    """Tell whether an array was cut down since it was copied."""
    if present is None:
        return False
    before, now = array_of(copied), array_of(present)
    return before.uid == now.uid and before.cuts != now.cuts


def _reach(head: Document) -> tuple[object, object]:
    """Return from which sequence on which buffer can be read."""
    return head.body["uid"], head.body.get("first")
