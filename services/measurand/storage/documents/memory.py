"""Documents in this process's memory: plain, gone with it, and right by definition: the oracle of every query test.

It runs on one event loop. No verb awaits between looking and changing, so each is atomic.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import re
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from measurand.core.filters.evaluate import CompilePattern, predicate
from measurand.core.filters.tree import Filter
from measurand.core.ordering import position_of, sort_key
from measurand.core.ports import Change, Changes, Document, Found, Order, Position, Total
from measurand.core.view import View
from measurand.wire.errors import AlreadyExists, HistoryTrimmed, PageTokenInvalid

__all__ = ["Memory"]


class Memory:
    """A DocumentStore without a disk.

    Parameters
    ----------
    compile_pattern : callable
        The engine of regular expressions, for filters.
    history : int
        How many changes of each collection are kept for `changes`.
    """

    def __init__(self, compile_pattern: CompilePattern, *, history: int = 100_000) -> None:
        self._compile_pattern = compile_pattern
        self._history = history
        self._collections: dict[str, _Collection] = {}
        self._incarnation = uuid.uuid4().hex[:12]  # a token of an earlier process must not be taken for one of ours
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return "memory()"

    async def insert(self, collection: str, document: Document) -> Document:
        if not self._insert(collection, document):
            raise AlreadyExists(f"{document.key}: there is one already; choose another id", resource=document.key)
        return replace(document, view=(), revision=1)

    async def insert_many(self, collection: str, documents: Sequence[Document]) -> Sequence[bool]:
        return [self._insert(collection, document) for document in documents]

    async def fetch(self, collection: str, key: str) -> Document | None:
        kept = self._of(collection).documents.get(key)
        return kept.document() if kept else None

    async def fetch_many(self, collection: str, keys: Sequence[str]) -> Mapping[str, Document]:
        documents = self._of(collection).documents
        return {key: documents[key].document() for key in keys if key in documents}

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        documents = self._of(collection).documents
        kept = documents.get(document.key)
        if kept is None or kept.revision != expected_revision:
            return None
        new = _Kept.of(replace(document, scope=kept.scope, revision=kept.revision + 1))
        documents[document.key] = new
        self._note(collection, "replaced", new)
        return new.document()

    async def remove(self, collection: str, key: str, *, expected_revision: int | None = None) -> bool:
        documents = self._of(collection).documents
        kept = documents.get(key)
        if kept is None or expected_revision not in (None, kept.revision):
            return False
        del documents[key]
        self._note(collection, "removed", kept)
        return True

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
        standing = (
            (position_of(kept.view, order, kept.key), kept)
            for kept in self._matching(collection, scopes, where, key_prefix)
        )
        keyed = ((sort_key(position, order), position, kept) for position, kept in standing)
        if after is not None:
            behind = sort_key(after, order)
            keyed = (item for item in keyed if behind < item[0])
        first = heapq.nsmallest(limit, keyed, key=lambda item: item[0])
        return [Found(kept.document(with_text=with_text), position) for _, position, kept in first]

    async def count(
        self,
        collection: str,
        *,
        scopes: Sequence[str] | None = None,
        where: Filter | None = None,
        key_prefix: str = "",
        most: int | None = None,
    ) -> int:
        number = sum(1 for _ in self._matching(collection, scopes, where, key_prefix))
        return number if most is None else min(number, most)

    async def total(
        self, collection: str, path: str, *, scopes: Sequence[str] | None = None, where: Filter | None = None
    ) -> Total:
        count = total = 0
        for kept in self._matching(collection, scopes, where, ""):
            count += 1
            for entry in kept.view:
                if entry.path == path and entry.scalar is not None and entry.scalar.kind == "n" and not entry.in_list:
                    total += entry.scalar.value if isinstance(entry.scalar.value, int) else 0
        return Total(count, total)

    async def values(
        self, collection: str, path: str, *, scopes: Sequence[str], prefix: str = "", after: str = "", limit: int = 100
    ) -> Sequence[tuple[str, int]]:
        counts: dict[str, int] = {}
        for kept in self._matching(collection, scopes, None, ""):
            strings = {entry.scalar.value for entry in kept.view if entry.path == path and entry.scalar is not None}
            for string in strings:
                if isinstance(string, str) and string.startswith(prefix) and string > after:
                    counts[string] = counts.get(string, 0) + 1
        return sorted(counts.items())[:limit]

    async def changes(
        self,
        collection: str,
        *,
        after: str | None,
        scopes: Sequence[str] | None = None,
        limit: int = 100,
        wait_seconds: float = 0.0,
    ) -> Changes:
        if after is None:
            return Changes((), self._token(self._of(collection).last))
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_seconds
        while True:
            answer = self._changes_behind(collection, self._number(collection, after), scopes, limit)
            left = deadline - clock()
            if answer.changes or left <= 0:
                return answer
            after = answer.token
            with contextlib.suppress(TimeoutError):  # then look once more, and find that no time is left
                await asyncio.wait_for(self._changed.wait(), left)

    async def close(self) -> None:
        self._wake()

    def _insert(self, collection: str, document: Document) -> bool:
        new = _Kept.of(replace(document, revision=1))
        kept = self._collections.setdefault(collection, _Collection()).documents.setdefault(document.key, new)
        if kept is not new:
            return False
        self._note(collection, "inserted", new)
        return True

    def _of(self, collection: str) -> _Collection:
        return self._collections.get(collection) or _Collection()

    def _matching(
        self, collection: str, scopes: Sequence[str] | None, where: Filter | None, key_prefix: str
    ) -> Iterator[_Kept]:
        wanted = None if scopes is None else frozenset(scopes)
        holds = predicate(where, compile_pattern=self._compile_pattern) if where is not None else None
        for kept in self._of(collection).documents.values():
            in_scope = wanted is None or kept.scope in wanted
            if in_scope and kept.key.startswith(key_prefix) and (holds is None or holds(kept.view)):
                yield kept

    def _note(self, collection: str, kind: Literal["inserted", "replaced", "removed"], kept: _Kept) -> None:
        into = self._collections[collection]
        into.last += 1
        into.log.append(Change(kind, kept.key, kept.scope, kept.revision, self._token(into.last)))
        while len(into.log) > self._history:
            into.log.popleft()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _token(self, number: int) -> str:
        return f"{self._incarnation}-{number}"

    def _number(self, collection: str, token: str) -> int:
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise PageTokenInvalid("the resume token is malformed; use one as it was answered")
        incarnation, number = match[1], int(match[2])
        into = self._of(collection)
        if incarnation != self._incarnation or not into.last - len(into.log) <= number <= into.last:
            raise HistoryTrimmed("the resume token is older than the kept history; list anew, then watch")
        return number

    def _changes_behind(self, collection: str, number: int, scopes: Sequence[str] | None, limit: int) -> Changes:
        into = self._of(collection)
        found: list[Change] = []
        for back in range(into.last - number, 0, -1):
            change = into.log[-back]
            if scopes is None or change.scope in scopes:
                found.append(change)
                if len(found) == limit:
                    return Changes(found, change.token)
        return Changes(found, self._token(into.last))


_TOKEN = re.compile(r"([0-9a-f]{12})-([0-9]{1,18})")


@dataclass(slots=True)
class _Collection:
    documents: dict[str, _Kept] = field(default_factory=dict)
    log: deque[Change] = field(default_factory=deque)
    last: int = 0
    """Number of the newest change; the log holds the newest ones without a gap."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A document as it is kept. The body is text, so that what a caller does with its own changes nothing here."""

    key: str
    scope: str
    body: str
    text: str
    view: View
    revision: int

    @classmethod
    def of(cls, document: Document) -> _Kept:
        body = json.dumps(document.body, allow_nan=False)
        return cls(document.key, document.scope, body, document.text, tuple(document.view), document.revision)

    def document(self, *, with_text: bool = True) -> Document:
        text = self.text if with_text else ""
        return Document(self.key, self.scope, json.loads(self.body), text, (), self.revision)
