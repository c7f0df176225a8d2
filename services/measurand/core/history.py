"""Change by change: a document is archived before it is replaced, so that what it was can still be read.

The API revision stands in the body (`revision`) and is apart from the store's: what the server counts by itself is
refreshed without a new API revision. `stored` in the body is the store's revision at which the API revision came, which
lets a watch say what a document was at any change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore, Order
from measurand.core.requests import Request, is_repeat
from measurand.core.view import Entry, Scalar, View
from measurand.wire.errors import Contention

__all__ = ["Decide", "History", "archived_view", "integer"]

Decide = Callable[[Document], Awaitable[Document | None]]
"""Makes of the present document its successor, with the next API revision in its body. None: nothing is to change."""

_TURNS = 64


def integer(body: Mapping[str, Any], field: str) -> int:
    """Return an integer of a body, 0 if it is not there."""
    value = body.get(field, 0)
    assert isinstance(value, int)
    return value


class History:
    """One collection whose documents have a past.

    Parameters
    ----------
    collection, archive : str
        Where the present documents are, and where the past ones: key `<key>/revisions/<r>`, scope the key.
    """

    def __init__(
        self, documents: DocumentStore, means: Means, limits: Limits, *, collection: str, archive: str
    ) -> None:
        self._documents = documents
        self._means = means
        self._limits = limits
        self._collection = collection
        self._archive = archive
        # Changes of one document in this process take turns; else a crowd of them would use up their tries.
        self._turns = tuple(asyncio.Lock() for _ in range(_TURNS))

    async def change(self, key: str, request: Request | None, decide: Decide, missing: Exception) -> Document:
        """Replace a document by what `decide` makes of it, and return it as this change left it.

        A repeated request gets the document as the first one left it.

        Raises
        ------
        Exception
            `missing`, when there is no such document, and what `decide` raises.
        Contention
            CONTENTION: others were faster too often.
        """
        async with self._turns[hash(key) % _TURNS]:
            for _ in range(self._limits.max_retries):
                current = await self._documents.fetch(self._collection, key)
                if current is None:
                    raise missing
                if request is not None and (outcome := await self.outcome(current, request)) is not None:
                    return outcome
                new = await decide(current)
                if new is None:
                    return current
                stored = await self.replace(current, new)
                if stored is not None:
                    return stored
        raise Contention(
            f"{key}: others changed it {self._limits.max_retries} times meanwhile; try again", retry_seconds=0.1
        )

    async def replace(self, current: Document, new: Document) -> Document | None:
        """Archive `current` and put `new` in its place. None: `current` is no longer the present one."""
        await self._keep(_archived(current))
        new = replace(new, body={**new.body, "stored": current.revision + 1})
        return await self._documents.replace(self._collection, new, expected_revision=current.revision)

    async def outcome(self, current: Document, request: Request) -> Document | None:
        """Return the document as an earlier call with the same request left it, or None if there was none.

        Raises
        ------
        RequestIdReused
            REQUEST_ID_REUSED: the earlier call asked something else.
        """
        now = self._means.now()
        if is_repeat(request, current.body.get("request"), now):
            return current
        if integer(current.body, "revision") > 1:
            asked = Compare("request", "=", Scalar("s", request.id))
            for found in await self._documents.find(self._archive, scopes=[current.key], where=asked):
                past = found.document
                # An archived copy of the present revision is left behind by a change that did not come about.
                is_past = _is_of(past, current) and past.body["revision"] != current.body["revision"]
                if is_past and is_repeat(request, past.body["request"], now):
                    return _restored(past, current)
        return None

    async def first(self, current: Document) -> Document | None:
        """Return the document as it was made."""
        return current if current.body["revision"] == 1 else await self.at(current, 1)

    async def at(self, current: Document, revision: int) -> Document | None:
        """Return the document at an API revision, or None if there is none."""
        if revision >= integer(current.body, "revision"):
            return current if revision == current.body["revision"] else None
        past = await self._documents.fetch(self._archive, f"{current.key}/revisions/{revision}")
        return _restored(past, current) if past is not None and _is_of(past, current) else None

    async def at_stored(self, current: Document, stored: int) -> Document | None:
        """Return the document at a revision of the store, as far as its API revision tells."""
        if stored >= integer(current.body, "stored"):
            return current
        found = await self._documents.find(
            self._archive,
            scopes=[current.key],
            where=Compare("stored", "<=", Scalar("n", stored)),
            # In a copied store all that was archived before has the same `stored`.
            order=[Order("stored", descending=True, required=True), Order("revision", descending=True, required=True)],
            limit=1,
        )
        return _restored(found[0].document, current) if found and _is_of(found[0].document, current) else None

    async def before(
        self, current: Document, revision: int, *, limit: int, with_text: bool = True
    ) -> Sequence[Document]:
        """Return the past of a document before an API revision, newest first."""
        below = min(revision, integer(current.body, "revision"))
        found = await self._documents.find(
            self._archive,
            scopes=[current.key],
            where=Compare("revision", "<", Scalar("n", below)),
            order=[Order("revision", descending=True, required=True)],
            limit=limit,
            with_text=with_text,
        )
        return [_restored(item.document, current) for item in found if _is_of(item.document, current)]

    async def _keep(self, past: Document) -> None:
        if (await self._documents.insert_many(self._archive, [past]))[0]:
            return
        kept = await self._documents.fetch(self._archive, past.key)  # from a try before, or of a purged namesake
        if kept is not None and not _is_of(kept, past):
            await self._documents.replace(self._archive, past, expected_revision=kept.revision)


def archived_view(body: Mapping[str, Any]) -> View:
    """Return what a past document can be found by."""
    view = [
        Entry("revision", Scalar("n", integer(body, "revision"))),
        Entry("stored", Scalar("n", integer(body, "stored"))),
    ]
    request = body.get("request")
    if isinstance(request, Mapping):
        view.append(Entry("request", Scalar("s", str(request["id"]))))
    return view


def _is_of(past: Document, present: Document) -> bool:
    """Tell whether a past document is of this one, not of one with its name that was purged."""
    return past.body["created"] == present.body["created"]


def _restored(past: Document, present: Document) -> Document:
    """Return an archived document as it was called when it was the present one."""
    return replace(past, key=present.key, scope=present.scope)


def _archived(current: Document) -> Document:
    key = f"{current.key}/revisions/{current.body['revision']}"
    return Document(key, current.key, current.body, current.text, archived_view(current.body))
