"""The two ports through which all durable state goes. Their promises are `tests/conformance`.

`BlobStore` keeps immutable bytes, `DocumentStore` keeps small documents that say what the bytes are. A blob becomes
visible by the one document write that names it; a blob that no document names is garbage. So a crash at any point
leaves the old state or the new one, and a server holds nothing that cannot be lost.

Errors of both ports: `Unavailable` when the store does not answer, `StoreFull` when it has no room, `DataLoss` when
what it holds is damaged. What was in hand when one of them is raised is not stored, or is whole and named by nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from measurand.core.filters.tree import Filter
from measurand.core.placement.policies import Policy
from measurand.core.view import Scalar, View

__all__ = [
    "Blob",
    "BlobStore",
    "Buffer",
    "Change",
    "Changes",
    "Checks",
    "Document",
    "DocumentStore",
    "Found",
    "Json",
    "Order",
    "Position",
    "Stage",
    "StoredBlob",
    "Total",
]

Buffer = bytes | bytearray | memoryview
"""Bytes in memory. What is handed to a store is not changed by it and must not be changed until the call returns."""

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""What the body of a document holds: plain JSON, integers within 64 bits, finite numbers."""


# ------------------------------------------------------------------------------------------------------------- blobs


@dataclass(frozen=True, slots=True)
class Checks:
    """What proves the bytes of a blob, block by block.

    Parameters
    ----------
    block_bytes : int
        Size of each block but the last.
    crcs : tuple of int
        CRC-32C of each block, in order.
    """

    block_bytes: int
    crcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Blob:
    """A finished blob as documents name it.

    Parameters
    ----------
    key : str
        `^[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_.-]*)*$`, at most 200 characters, never used for other bytes.
    size : int
        Number of bytes.
    checks : Checks, optional
        Made by the wrapper `checked`; None where a store runs without it.
    """

    key: str
    size: int
    checks: Checks | None = None


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob as the store sees it, for `stat` and `scan`.

    Parameters
    ----------
    staged : bool
        It is a staged write that was neither finished nor discarded.
    modified_time : datetime
        When it was last written, by the store's clock; aware, UTC.
    """

    key: str
    size: int
    modified_time: datetime
    staged: bool = False


class Stage(Protocol):
    """A blob while it is being written, by one writer, from its beginning, in order."""

    async def append(self, chunks: Sequence[Buffer]) -> None:
        """Take the next bytes. They are kept for sure only after `persist`."""
        ...

    async def persist(self, *, whole: bool = True) -> int:
        """Make what was appended before the call durable, and return how many bytes from the start are.

        May run while `append` goes on. Durable means that it survives the loss of the process and of the machine's
        power, and that `BlobStore.finish` of any process finds it.

        Parameters
        ----------
        whole : bool
            True: all of it. False: some of it, as it comes: a store that writes in parts may keep back what does not
            fill one, and may answer when one more part is durable while others are on their way.
        """
        ...

    async def close(self) -> None:
        """Let go of what this process holds for it. The persisted bytes stay, for `finish` or `discard`."""
        ...


class BlobStore(Protocol):
    """Immutable bytes under keys that are never reused."""

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        """Store the bytes of all chunks as one blob. Durable when it returns.

        Parameters
        ----------
        policy : Policy, optional
            Where and how often the bytes are to be kept, for a store that has several places. A store that is one
            place takes no notice of it. None: as the store sees fit.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: there is a blob with this key, which stays as it is.
        """
        ...

    def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        """Yield `length` bytes from `offset` (None: to the end of `blob.size`) in chunks of at most 2 MiB.

        The chunks come in order, without gaps, and stay valid after the next is asked for. Only `blob.size` counts:
        what the store holds beyond it is not there.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such blob, or it was deleted meanwhile.
        OutOfRange
            BEYOND_END: the range does not lie within `blob.size`.
        DataLoss
            STORED_DATA_CORRUPT: the store has fewer bytes than that, or they are not those of `blob.checks`. What was
            yielded before is right.
        """
        ...

    async def stat(self, key: str) -> StoredBlob:
        """Return what the store knows of a finished blob. Raises NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a finished blob. Removing what is not there changes nothing."""
        ...

    def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        """Yield all blobs whose key begins so, staged ones too, in no particular order.

        What is there from before the scan to its end is yielded once; what comes or goes meanwhile may be.
        """
        ...

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        """Begin a blob that is written bit by bit; `policy` as for `put`. Raises AlreadyExists."""
        ...

    async def finish(self, key: str, size: int) -> Blob:
        """Turn the first `size` bytes of a staged write, all persisted, into a finished blob. Durable when it returns.

        May be called by another process than the writer's, which may be dead, or still be writing behind `size`.
        Finishing again with the same size gives the same blob.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: it was never staged, or was discarded.
        DataLoss
            STORED_DATA_CORRUPT: fewer than `size` bytes are there.
        """
        ...

    async def discard(self, key: str) -> None:
        """Throw a staged write away. Discarding what is not there, or what is finished, changes nothing."""
        ...

    async def close(self) -> None:
        """Let go of what the store holds in this process."""
        ...


# --------------------------------------------------------------------------------------------------------- documents


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a collection.

    Parameters
    ----------
    key : str
        Its resource name, unique in its collection; any text of at most 2,000 UTF-8 bytes.
    scope : str
        What it lies in and is searched in, such as the name of its catalog. Never changed.
    body : mapping
        What core keeps in it, as plain JSON.
    text : str
        One more value, opaque and perhaps large: the metadata as Extended JSON.
    view : View
        What it can be found by. Handed in with every write; stores do not hand it out again.
    revision : int
        Set by the store: 1 at `insert`, one more with every `replace`.
    """

    key: str
    scope: str
    body: Mapping[str, Json]
    text: str = ""
    view: View = ()
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """One key of an order.

    Parameters
    ----------
    path : str
        A path of the view. Documents without a scalar there sort lowest, then numbers, strings, booleans, times.
    descending : bool
        From the highest down; those without a scalar then come last.
    required : bool
        Every document of the collection has a scalar there, so a store need not look for those without.
    """

    path: str
    descending: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Where a document stands in an order: its sort values (None: no scalar) and its key, which breaks ties upwards."""

    values: tuple[Scalar | None, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Found:
    """A document that was found, and where it stands."""

    document: Document
    position: Position


@dataclass(frozen=True, slots=True)
class Total:
    """How many documents there are, and the sum of one number of each."""

    count: int
    total: int


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one document.

    Parameters
    ----------
    revision : int
        The document's revision after the change; for "removed" the one that was removed.
    token : str
        Ask for the changes after this one with it.
    """

    kind: Literal["inserted", "replaced", "removed"]
    key: str
    scope: str
    revision: int
    token: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Some changes, oldest first, and the token to go on with (fresh even if there were none)."""

    changes: Sequence[Change] = field(default_factory=tuple)
    token: str = ""


class DocumentStore(Protocol):
    """Collections of documents. The only atomicity anyone may count on is one document with a revision check.

    A collection is a word such as `datasets`; it comes into being by its first document. Writes are durable when they
    return and are seen by every later read of any process.
    """

    async def insert(self, collection: str, document: Document) -> Document:
        """Store a new document and return it with revision 1.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: the key is taken; nothing was changed.
        """
        ...

    async def insert_many(self, collection: str, documents: Sequence[Document]) -> Sequence[bool]:
        """Store new documents, each by itself, and tell for each whether it was stored (False: its key is taken)."""
        ...

    async def fetch(self, collection: str, key: str) -> Document | None:
        """Return the document, or None if there is none."""
        ...

    async def fetch_many(self, collection: str, keys: Sequence[str]) -> Mapping[str, Document]:
        """Return those of the documents that there are, by key; at most 1,000 keys."""
        ...

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        """Put `document` in the place of the one with its key and return it with its new revision.

        None: there is none at `expected_revision`, and nothing was changed.
        """
        ...

    async def remove(self, collection: str, key: str, *, expected_revision: int | None = None) -> bool:
        """Remove the document if it is at that revision (None: at any). False: it is not, and nothing was changed."""
        ...

    async def find(
        self,
        collection: str,
        *,
        scopes: Sequence[str] | None = None,
        where: Filter | None = None,
        order: Sequence[Order] = (),
        after: Position | None = None,
        key_prefix: str = "",
        limit: int = 100,
        with_text: bool = True,
    ) -> Sequence[Found]:
        """Return the first `limit` documents in `order`, then by key in code point order, behind `after`.

        Parameters
        ----------
        scopes : sequence of str, optional
            Only documents of these scopes. None: of all.
        where : Filter, optional
            Only those that it holds for. The memory store's answer is right by definition.
        after : Position, optional
            Only those that stand behind it, whether or not the document it came from is still there. With no `order`
            its values are empty.
        key_prefix : str
            Only those whose key begins so.
        with_text : bool
            False: `text` of the documents is "", which spares reading it.
        """
        ...

    async def count(
        self,
        collection: str,
        *,
        scopes: Sequence[str] | None = None,
        where: Filter | None = None,
        key_prefix: str = "",
        most: int | None = None,
    ) -> int:
        """Return how many documents `find` would give, counting no further than `most`."""
        ...

    async def total(
        self, collection: str, path: str, *, scopes: Sequence[str] | None = None, where: Filter | None = None
    ) -> Total:
        """Return how many documents there are, and the sum of the integers that they have at `path` of their view."""
        ...

    async def values(
        self, collection: str, path: str, *, scopes: Sequence[str], prefix: str = "", after: str = "", limit: int = 100
    ) -> Sequence[tuple[str, int]]:
        """Return the distinct strings at `path` that begin with `prefix` and lie behind `after`, with how many
        documents have each, in code point order.
        """
        ...

    async def changes(
        self,
        collection: str,
        *,
        after: str | None,
        scopes: Sequence[str] | None = None,
        limit: int = 100,
        wait_seconds: float = 0.0,
    ) -> Changes:
        """Return changes in the order in which they were stored, at least once each.

        Parameters
        ----------
        after : str or None
            The token of an earlier answer. None: no changes, but a token for now.
        wait_seconds : float
            How long to wait for a first change when there is none.

        Raises
        ------
        InvalidArgument
            PAGE_TOKEN_INVALID: the token is malformed.
        HistoryTrimmed
            HISTORY_TRIMMED: the token is older than the kept history.
        """
        ...

    async def close(self) -> None:
        """Let go of what the store holds in this process."""
        ...
