"""What lies where: one document for each blob that is spread over containers.

A blob is a row of segments; each has one part for each row of its code, in a container of its own. Most blobs have one
segment; another begins when parts have grown large, or when a container failed in the middle of a write. A part counts
by its index: `segment * number of parts + row`.

Whatever moves a part writes the new one, replaces the document at its revision, and removes the old one, in this order.
A part that the document of its blob does not name is garbage. Whoever finds a part gone reads the document again.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from measurand.core.containers.stripes import UNIT_BYTES, Layout
from measurand.core.filters.tree import Compare
from measurand.core.placement.policies import Policy
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry, Scalar, join

__all__ = [
    "PARTS",
    "PLACEMENTS",
    "Part",
    "Placement",
    "Placements",
    "Segment",
    "blob_of",
    "held_path",
    "in_container",
    "part_key",
    "placement_document",
    "placement_of",
]

PLACEMENTS = "placements"
"""The collection: key the key of the blob."""

PARTS = "p/"
"""What the keys of all parts begin with."""

_HASHED = "p/h/"
_LONGEST_KEY = 200
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a blob.

    Parameters
    ----------
    container : str
        Its id.
    key : str
        The key of the blob that it is there.
    index : int
        `segment * number of parts + row`; the row is that of the code, below `data_parts` for data.
    """

    container: str
    key: str
    index: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Some of the bytes of a blob, one after the other.

    Parameters
    ----------
    size : int
        Bytes of the blob that it holds.
    part_bytes : int
        Size of each of its parts.
    shorts : tuple of (int, int)
        As in `Layout`.
    """

    size: int
    part_bytes: int
    shorts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the parts of one blob are, and what they are made of.

    Parameters
    ----------
    blob : str
        Its key.
    uid : str
        32 hexadecimal digits, which stand in the header of every frame.
    size : int
        Bytes of the blob; of a staged one those that its writer has last told of.
    data_parts, parity_parts : int
        Of the code; with one data part all parts are copies.
    segments : tuple of Segment
        In order. While the blob is staged the last one is being written.
    parts : tuple of Part
        By index. Of an empty blob: none.
    policy : Policy
        What was asked for.
    create_time, modified_time : datetime
        When it was begun, and when it was finished.
    staged : bool
        It is being written.
    missing : tuple of int
        Parts that were not durable when the blob was acknowledged; to be repaired first.
    verified : datetime, optional
        When all its parts were last found whole.
    unit : int
        As in `Layout`.
    revision : int
        Of the document.
    """

    blob: str
    uid: str
    size: int
    data_parts: int
    parity_parts: int
    segments: tuple[Segment, ...]
    parts: tuple[Part, ...]
    policy: Policy
    create_time: datetime
    modified_time: datetime
    staged: bool = False
    missing: tuple[int, ...] = ()
    verified: datetime | None = None
    unit: int = UNIT_BYTES
    revision: int = 0

    @property
    def width(self) -> int:
        """Number of parts of each segment."""
        return self.data_parts + self.parity_parts

    @property
    def stored_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(segment.part_bytes for segment in self.segments) * self.width

    def layout(self, segment: int) -> Layout:
        """Return the stripes of a segment."""
        found = self.segments[segment]
        return Layout(found.size, self.data_parts, self.unit, found.shorts)

    def parts_of(self, segment: int) -> Sequence[Part]:
        """Return the parts of a segment, by row."""
        return self.parts[segment * self.width : (segment + 1) * self.width]

    def part_bytes(self, index: int) -> int:
        """Return the size of a part."""
        return self.segments[index // self.width].part_bytes

    def margin(self, bad: Collection[int]) -> int:
        """Return how many more parts may be lost when these are; 0: none, below 0: bytes are lost."""
        lost = [0] * max(len(self.segments), 1)
        for index in bad:
            lost[index // self.width] += 1
        return self.parity_parts - max(lost)

    def with_parts(self, parts: Collection[Part]) -> Placement:
        """Return it with other parts at their indexes, which are missing no more."""
        new = {part.index: part for part in parts}
        return replace(
            self,
            parts=tuple(new.get(part.index, part) for part in self.parts),
            missing=tuple(index for index in self.missing if index not in new),
        )


def part_key(blob: str, attempt: str, index: int) -> str:
    """Return the key of a part.

    Parameters
    ----------
    attempt : str
        Six characters of this writer's own, so that two never touch one another's parts.
    """
    end = f".{attempt}.{index}"
    if len(PARTS) + len(blob) + len(end) <= _LONGEST_KEY:
        return f"{PARTS}{blob}{end}"
    return f"{_HASHED}{_hashed(blob)}{end}"


def blob_of(part: str) -> str | None:
    """Return the key of the blob that the part with this key is of; None: `Placements.of_part` has to look for it."""
    stem = part.removeprefix(PARTS).rsplit(".", 2)[0]
    return None if part.startswith(_HASHED) and len(stem) == len("h/") + 64 else stem


def held_path(container: str) -> str:
    """Return the path of the view with the bytes of a blob that are in a container; only where there are some."""
    return join("held", container)


def in_container(container: str) -> Compare:
    """Return the filter for placements with a part in a container."""
    return Compare(held_path(container), ">=", Scalar("n", 0))


def _held(placement: Placement) -> dict[str, int]:
    held: Counter[str] = Counter()
    for part in placement.parts:
        held[part.container] += placement.part_bytes(part.index)
    return dict(held)


def placement_document(placement: Placement) -> Document:
    """Return the document that keeps a placement."""
    body: dict[str, Any] = {
        "uid": placement.uid,
        "size": placement.size,
        "code": [placement.data_parts, placement.parity_parts, placement.unit],
        "segments": [
            [segment.size, segment.part_bytes, [number for short in segment.shorts for number in short]]
            for segment in placement.segments
        ],
        "parts": [[part.container, part.key] for part in placement.parts],
        "policy": placement.policy.to_json(),
        "create_time": microseconds(placement.create_time),
        "modified_time": microseconds(placement.modified_time),
    }
    if placement.staged:
        body["staged"] = True
    if placement.missing:
        body["missing"] = list(placement.missing)
    if placement.verified is not None:
        body["verified"] = microseconds(placement.verified)
    view = [
        *(Entry(held_path(name), Scalar("n", size)) for name, size in _held(placement).items()),
        Entry("staged", Scalar("b", placement.staged)),
        Entry("missing", Scalar("n", len(placement.missing))),
        Entry("part_bytes", Scalar("n", placement.stored_bytes)),
    ]
    if not placement.staged:  # what was just written was whole
        view.append(Entry("verified", Scalar("t", microseconds(placement.verified or placement.modified_time))))
    if placement.parts and blob_of(placement.parts[0].key) is None:
        view.append(Entry("hash", Scalar("s", _hashed(placement.blob))))
    return Document(placement.blob, "", body, view=view, revision=placement.revision)


def placement_of(document: Document) -> Placement:
    """Return the placement that a document keeps."""
    body = cast("Mapping[str, Any]", document.body)
    data_parts, parity_parts, unit = body["code"]
    verified = body.get("verified")
    return Placement(
        blob=document.key,
        uid=body["uid"],
        size=body["size"],
        data_parts=data_parts,
        parity_parts=parity_parts,
        unit=unit,
        segments=tuple(
            Segment(size, part_bytes, tuple(zip(shorts[::2], shorts[1::2], strict=True)))
            for size, part_bytes, shorts in body["segments"]
        ),
        parts=tuple(Part(container, key, index) for index, (container, key) in enumerate(body["parts"])),
        policy=Policy.from_json(body["policy"]),
        create_time=from_microseconds(body["create_time"]),
        modified_time=from_microseconds(body["modified_time"]),
        staged=body.get("staged", False),
        missing=tuple(body.get("missing", ())),
        verified=None if verified is None else from_microseconds(verified),
        revision=document.revision,
    )


@dataclass(slots=True)
class Placements:
    """The documents, and a memory of those that were read last, which may be stale.

    What is remembered is right but for where parts are: blobs do not change, and keys are never used again.
    """

    documents: DocumentStore
    _known: OrderedDict[str, Placement | None] = field(default_factory=OrderedDict)

    async def insert(self, placement: Placement) -> Placement:
        """Keep a new one and return it with its revision. Raises AlreadyExists."""
        document = await self.documents.insert(PLACEMENTS, placement_document(placement))
        return self._remember(replace(placement, revision=document.revision))

    async def fetch(self, blob: str, *, fresh: bool = False) -> Placement | None:
        """Return that of a blob; None: it lies in the home store, or nowhere.

        Parameters
        ----------
        fresh : bool
            As the store has it now. False: perhaps as it was some time ago.
        """
        if not fresh and blob in self._known:
            self._known.move_to_end(blob)
            return self._known[blob]
        document = await self.documents.fetch(PLACEMENTS, blob)
        if document is None:
            self._keep(blob, None)
            return None
        return self._remember(placement_of(document))

    async def has_any(self, blobs: Collection[str]) -> bool:
        """Tell whether one of these blobs lies in containers."""
        return bool(await self.documents.fetch_many(PLACEMENTS, list(set(blobs))))

    async def replace(self, placement: Placement) -> Placement | None:
        """Put it in the place of the one with its revision and return it with its new one. None: that has changed."""
        document = await self.documents.replace(
            PLACEMENTS, placement_document(placement), expected_revision=placement.revision
        )
        if document is None:
            self._known.pop(placement.blob, None)
            return None
        return self._remember(replace(placement, revision=document.revision))

    async def remove(self, placement: Placement) -> bool:
        """Remove it if it has not changed. False: it has, or is gone."""
        self._known.pop(placement.blob, None)
        return await self.documents.remove(PLACEMENTS, placement.blob, expected_revision=placement.revision)

    async def find(
        self, prefix: str = "", *, container: str = "", after: str = "", limit: int = 100
    ) -> Sequence[Placement]:
        """Return the first of those whose keys begin so and lie behind `after`, by key.

        Parameters
        ----------
        container : str
            Only those that have a part there.
        """
        found = await self.documents.find(
            PLACEMENTS,
            where=in_container(container) if container else None,
            key_prefix=prefix,
            after=Position((), after) if after else None,
            limit=limit,
        )
        return [placement_of(item.document) for item in found]

    async def of_part(self, part: str) -> Placement | None:
        """Return the placement of the blob that the part with this key is, or was, of."""
        stem = part.removeprefix(PARTS).rsplit(".", 2)[0]
        found_by_key = await self.fetch(stem, fresh=True)
        if found_by_key is not None or blob_of(part) is not None:
            return found_by_key
        hashed = stem.removeprefix("h/")
        where = Compare("hash", "=", Scalar("s", hashed))
        found = await self.documents.find(PLACEMENTS, where=where, limit=1)
        return placement_of(found[0].document) if found else None

    def forget(self, blob: str) -> None:
        """Read it anew next time."""
        self._known.pop(blob, None)

    def _remember(self, placement: Placement) -> Placement:
        self._keep(placement.blob, placement)
        return placement

    def _keep(self, blob: str, placement: Placement | None) -> None:
        self._known[blob] = placement
        self._known.move_to_end(blob)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _hashed(blob: str) -> str:
    return hashlib.sha256(blob.encode()).hexdigest()
