"""Whether documents and blobs fit each other: what is named is there, what is there is named, all of it can be read.

Nothing is changed, and others may go on meanwhile: what looks wrong is looked at again before it is told. Memory is
bounded by the number of uploads that are open, not by that of documents or blobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeVar

from measurand.core.arrays.blocks import BLOCKS, Entry, Index, block_of, chunk_text, chunks_text
from measurand.core.blob_rules import closing
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, blob_key
from measurand.core.buffers.proving import fault_of
from measurand.core.digesting import Running, read_through
from measurand.core.extents import cut
from measurand.core.file_documents import FILES, SUPERSEDED, File, file_of
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.naming import NAMING, Named, is_named, named_by, segments_in
from measurand.core.ports import Blob, BlobStore, Document, DocumentStore, StoredBlob
from measurand.core.uploads import UPLOADS, upload_of
from measurand.core.walking import COLLECTIONS, Unreadable, Walk, shown
from measurand.wire.errors import DataLoss, NotFound

__all__ = ["Checkup", "Kind", "Seen", "Trouble"]

Item = TypeVar("Item")
Kind = Literal["unreadable", "missing", "short", "damaged"]

AT_ONCE = 32
"""Questions to a store that run beside each other."""
REMEMBERED = 10_000
"""Small files share blobs with their neighbours: so many that were just seen are not asked for again."""
SLICE_BYTES = 16 << 20
EXAMPLES = 5
OVERDUE = timedelta(hours=1)
"""A server ends what is expired every few minutes."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is lost or damaged.

    Parameters
    ----------
    resource : str
        The document that is, or that stands on it.
    text : str
        What is wrong with it.
    """

    kind: Kind
    resource: str
    text: str


@dataclass(slots=True)
class Seen:
    """What a checkup has looked at, so far.

    Parameters
    ----------
    orphans, orphan_bytes : int
        Blobs older than the grace time that nobody names, staged ones too.
    orphan_keys : list of str
        The first few of them.
    overdue : int
        Uploads whose time has long come and that nobody has ended.
    read_bytes : int
        What was held to its digests.
    """

    documents: int = 0
    named: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    orphan_keys: list[str] = field(default_factory=list)
    overdue: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A blob, and the document that stands on it."""

    blob: Named
    collection: str
    owner: str


class Checkup:
    """Looks at everything once.

    Parameters
    ----------
    tell : callable
        Called with each trouble when it is found.
    watch : callable
        Called now and then with what was seen so far.
    """

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        means: Means,
        limits: Limits,
        *,
        tell: Callable[[Trouble], None],
        watch: Callable[[Seen], None] = lambda _: None,
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._means = means
        self._grace = limits.blob_grace
        self._tell = tell
        self._watch = watch
        self._seen = Seen()
        self._sizes: dict[str, int] = {}
        self._staged: dict[str, _Wanted] = {}

    async def run(self, *, bytes_per_second: float | None = None) -> Seen:
        """Look, and return what was seen.

        Parameters
        ----------
        bytes_per_second : float, optional
            Read the bytes of all files and arrays too, on average no faster than that, and hold them to their digests.
        """
        walk = Walk(self._documents, self._means, self._unreadable)
        for collection in COLLECTIONS:
            async for page in walk.over(collection):
                self._seen.documents += len(page)
                if collection in NAMING:
                    await self._look_for_blobs(collection, page)
                if collection == UPLOADS:
                    self._seen.overdue += sum(map(self._is_overdue, page))
                if collection in (FILES, SUPERSEDED) and bytes_per_second:
                    for document in page:
                        await self._read(document.key, file_of(document), bytes_per_second)
                if collection == BLOCKS and bytes_per_second:
                    for document in page:
                        await self._read_chunks(document, bytes_per_second)
                if collection in (BUFFERS, SEGMENTS) and bytes_per_second:
                    for document in page:
                        await self._read_segments(collection, document, bytes_per_second)
                self._watch(self._seen)
        await self._scan()
        await _each(self._look_for, [[one] for one in self._staged.values()])  # finished meanwhile, or gone
        return self._seen

    async def _look_for_blobs(self, collection: str, page: Sequence[Document]) -> None:
        if len(self._sizes) > REMEMBERED:
            self._sizes.clear()
        wanted: dict[str, list[_Wanted]] = {}
        for document in page:
            for named in named_by(collection, document):
                one = _Wanted(named, collection, document.key)
                if named.staged:
                    self._staged[named.key] = one  # the scan will meet it
                elif named.size > self._sizes.get(named.key, -1):
                    wanted.setdefault(named.key, []).append(one)
        await _each(self._look_for, list(wanted.values()))
        self._seen.named += len(wanted)

    async def _look_for(self, wanted: Sequence[_Wanted]) -> None:
        """Ask for one blob, on behalf of all who stand on it."""
        key = wanted[0].blob.key
        there = -1
        try:
            there = self._sizes[key] = (await self._blobs.stat(key)).size
        except NotFound:
            pass
        except DataLoss as error:
            for one in wanted:
                if (owner := await self._owner(one)) is not None:
                    self._tell(Trouble("damaged", _resource(one, owner), error.message))
            return
        for one in wanted:
            if one.blob.size <= there or (owner := await self._owner(one)) is None:
                continue
            if there < 0:
                self._tell(Trouble("missing", _resource(one, owner), f"its blob {key} is not there"))
            else:
                text = f"its blob {key} has {there} bytes and should have {one.blob.size}"
                self._tell(Trouble("short", _resource(one, owner), text))

    async def _owner(self, wanted: _Wanted) -> Document | None:
        """Return what still names a blob, None if nothing does: a blob goes after the last document that names it."""
        document = await self._documents.fetch(wanted.collection, wanted.owner)
        if document is None or wanted.blob not in named_by(wanted.collection, document):
            return None
        # An index document may be left over from an array that is gone.
        is_left = wanted.collection == BLOCKS and not await is_named(self._documents, wanted.blob.key)
        return None if is_left else document

    def _is_overdue(self, document: Document) -> bool:
        return self._means.now() - upload_of(document).expire_time > OVERDUE

    async def _scan(self) -> None:
        old: list[StoredBlob] = []
        async for blob in self._blobs.scan():
            self._seen.blobs += 1
            self._seen.blob_bytes += blob.size
            named = self._staged.get(blob.key)
            if named is not None and named.blob.size <= blob.size:
                del self._staged[blob.key]
            if self._means.now() - blob.modified_time >= self._grace:
                old.append(blob)
            if len(old) == AT_ONCE:
                await _each(self._judge, old)
                old.clear()
                self._watch(self._seen)
        await _each(self._judge, old)

    async def _judge(self, blob: StoredBlob) -> None:
        # Asked twice: an upload that is committed just now hands its blobs from one collection on to another.
        if await is_named(self._documents, blob.key) or await is_named(self._documents, blob.key):
            return
        self._seen.orphans += 1
        self._seen.orphan_bytes += blob.size
        if self._seen.orphans <= EXAMPLES:
            self._seen.orphan_keys.append(blob.key)

    async def _read(self, key: str, file: File, bytes_per_second: float) -> None:
        started, running = self._means.monotonic(), Running.begin(self._means)
        try:
            for offset in range(0, file.size, SLICE_BYTES):
                size = min(SLICE_BYTES, file.size - offset)
                await read_through(running, self._blobs, tuple(cut(file.extents, offset, size)))
                self._seen.read_bytes += size
                self._watch(self._seen)
                ahead = running.size / bytes_per_second - (self._means.monotonic() - started)
                await asyncio.sleep(max(ahead, 0))
        except DataLoss as error:
            self._tell(Trouble("damaged", shown(key), error.message))
            return
        except NotFound:
            return  # told of already, or removed meanwhile
        promised = file.digests
        if running.crc32c != promised.crc32c or promised.blake3 not in ("", running.digests.blake3):
            self._tell(Trouble("damaged", shown(key), "its bytes do not fit its digests"))

    async def _read_chunks(self, document: Document, bytes_per_second: float) -> None:
        """Read the chunks that an index document names, and hold each to its sum."""
        block = block_of(document)
        for index, entry in block.entries.items():
            why = await self._fault_of(entry, bytes_per_second)
            if not why or not await self._is_still_there(document.key, index, entry):
                continue
            self._tell(Trouble("damaged", shown(chunk_text(block, index)), why))

    async def _fault_of(self, entry: Entry, bytes_per_second: float) -> str:
        """Return what is wrong with a chunk, empty if nothing. One that is gone was told of already."""
        started, found = self._means.monotonic(), 0
        try:
            blob = Blob(entry.blob, entry.offset + entry.size)
            async with closing(self._blobs.open(blob, entry.offset, entry.size)) as pieces:
                async for piece in pieces:
                    found = await self._means.in_thread(self._means.crc32c, piece, found)
        except DataLoss as error:
            return error.message
        except NotFound:
            return ""
        self._seen.read_bytes += entry.size
        self._watch(self._seen)
        await asyncio.sleep(max(entry.size / bytes_per_second - (self._means.monotonic() - started), 0))
        return "" if found == entry.crc32c else f"its bytes in {entry.blob} do not fit their crc32c"

    async def _read_segments(self, collection: str, document: Document, bytes_per_second: float) -> None:
        """Read the records that a head or an index of segments names, and hold each to its sum."""
        uid, segments = segments_in(collection, document)
        for segment in segments:
            started = self._means.monotonic()
            why = await fault_of(self._blobs, self._means, uid, segment)
            self._seen.read_bytes += segment.size
            self._watch(self._seen)
            if why and await is_named(self._documents, blob_key(uid, segment.ulid)):
                self._tell(Trouble("damaged", _of_segment(collection, document), why))
            await asyncio.sleep(max(segment.size / bytes_per_second - (self._means.monotonic() - started), 0))

    async def _is_still_there(self, key: str, index: Index, entry: Entry) -> bool:
        document = await self._documents.fetch(BLOCKS, key)
        return document is not None and block_of(document).entries.get(index) == entry

    def _unreadable(self, found: Unreadable) -> None:
        self._tell(Trouble("unreadable", f"{found.collection}: {found.key}", found.why))


def _resource(wanted: _Wanted, owner: Document) -> str:
    """Return what stands on a blob, as people know it."""
    if wanted.collection in (BUFFERS, SEGMENTS):
        return _of_segment(wanted.collection, owner)
    if wanted.collection != BLOCKS:
        return shown(owner.key)
    return shown(chunks_text(block_of(owner), wanted.blob.key))


def _of_segment(collection: str, document: Document) -> str:
    """Return the buffer whose records those are; their batch may have outlived it."""
    return shown(document.key if collection == BUFFERS else document.scope)


async def _each(work: Callable[[Item], Awaitable[None]], items: Sequence[Item]) -> None:
    """Work on all of them, some beside each other. What is raised is raised when none runs any longer."""
    for start in range(0, len(items), AT_ONCE):
        ended = await asyncio.gather(*map(work, items[start : start + AT_ONCE]), return_exceptions=True)
        for fault in ended:
            if fault is not None:
                raise fault
