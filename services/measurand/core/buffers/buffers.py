"""Buffers: made, found, described, finished and removed. Records go in by `appending`, windows close by `freezing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from measurand.core.buffers.changing import change_head
from measurand.core.buffers.courtesy import TURNS
from measurand.core.buffers.documents import BUFFERS, event_of, head_document, head_of
from measurand.core.buffers.drafting import (
    EDITABLE,
    MAX_DESCRIPTION,
    BufferDraft,
    bounded,
    check_etag,
    checked_policy,
    mark,
    marked,
    repeated,
    with_last,
)
from measurand.core.buffers.heads import Event, EventKind, Head, Policy, State
from measurand.core.buffers.live import Board
from measurand.core.buffers.remembering import EVENTS, Remembering
from measurand.core.buffers.standing import GONE, find_standing, gone_document, is_gone, missing, refusal
from measurand.core.catalogs import Catalogs
from measurand.core.dataset_edits import Source
from measurand.core.fields import check_text
from measurand.core.filters.tree import Exists, Not
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.names import BufferName, CatalogName, check_id, parse_buffer
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import DocumentStore, Position
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.core.ulid import make_ulid
from measurand.wire.errors import (
    AlreadyExists,
    Contention,
    InvalidArgument,
    ResourceInUse,
)

__all__ = ["EDITABLE", "BufferDraft", "BufferPage", "Buffers"]

MAX_MESSAGE = 10_000
REMEMBERED = timedelta(days=1)
"""How long a removed buffer leaves something in its place; see `measurand.core.buffers.standing`."""

Also = Callable[[BufferName, str], Awaitable[None]]
"""Removes what else there is of a buffer, by its name and uid."""


@dataclass(frozen=True, slots=True)
class BufferPage:
    """Some buffers, and the token of the next page (empty: this was the last)."""

    heads: Sequence[Head]
    next_page_token: str


class Buffers:
    """All buffers.

    Parameters
    ----------
    remove_also : sequence of callable
        Remove what else there is of a buffer that is removed.
    """

    def __init__(
        self,
        documents: DocumentStore,
        catalogs: Catalogs,
        board: Board,
        means: Means,
        limits: Limits,
        *,
        remove_also: Sequence[Also] = (),
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._board = board
        self._means = means
        self._limits = limits
        self._reader = MetadataReader(means, limits)
        self._remembering = Remembering(documents, means, limits)
        self._remove_also = remove_also

    async def create(
        self, principal: Principal, parent: CatalogName, draft: BufferDraft, *, request_id: str = ""
    ) -> Head:
        """Make a buffer with an active first window. Durable when it returns.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: there is one with this id.
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED: of the catalog.
        InvalidArgument
            FIELD_INVALID, NAME_INVALID, DOCUMENT_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        """
        name = BufferName(parent.catalog, check_id(draft.buffer_id, field="buffer_id"))
        await self._catalogs.require(principal, parent)
        description, metadata, policy = await self._checked(draft)
        now = self._means.now()
        asked = (principal.name, str(name), description, metadata, policy)
        head = Head(
            name=name,
            uid=make_ulid(now, self._means.random_bytes).lower(),
            secret=self._means.random_bytes(32).hex(),
            creator=principal.name,
            create_time=now,
            update_time=now,
            description=description,
            metadata=metadata,
            policy=policy,
            request=mark(request_id, 0, "create", *asked),
        ).noting(EventKind.CREATED, now, principal.name)
        document = head_document(head)
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(BUFFERS, document.key)
            if current is None:
                if not (await self._documents.insert_many(BUFFERS, [document]))[0]:
                    continue
                self._board.publish(head, revision=1)
                return head
            if is_gone(current):
                stored = await self._documents.replace(BUFFERS, document, expected_revision=current.revision)
                if stored is None:
                    continue
                self._board.publish(head, revision=stored.revision)
                return head
            there = head_of(current)
            first = there.request.partition("\n")[0]
            lives = there.create_time + self._limits.request_id_lifetime > now
            if lives and repeated(first, request_id, "create", *asked) is not None:
                return there
            raise AlreadyExists(f"{name}: there is a buffer with this id; use it, or choose another id", resource=name)
        raise Contention(f"{name}: others keep making and removing it; try again", retry_seconds=0.1)

    async def get(self, principal: Principal, name: BufferName) -> Head:
        """Return a buffer as it is now. Raises NotFound."""
        await self._catalogs.require(principal, name.parent)
        return (await self._board.read(name)).head

    async def page(
        self, principal: Principal, parent: CatalogName | None, *, size: int = 0, page_token: str = ""
    ) -> BufferPage:
        """Return a page of the buffers of a catalog, by name; None: of all catalogs that the caller may see.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED: of the catalog.
        PageTokenInvalid
            PAGE_TOKEN_INVALID: it is malformed or from another request.
        """
        limit = page_size(size, self._limits)
        request = ("buffers", str(parent))
        start = open_token(page_token, request=request, values=0, now=self._means.now())
        if parent is not None:
            await self._catalogs.require(principal, parent)
        scopes = [parent] if parent is not None else await self._catalogs.visible(principal)
        found = await self._documents.find(
            BUFFERS,
            scopes=[str(scope) for scope in scopes],
            where=Not(Exists(GONE)),
            after=start.after,
            limit=limit + 1,
        )
        heads = [head_of(item.document) for item in found[:limit]]
        more = len(found) > limit
        token = make_token(found[limit - 1].position, request=request, now=start.now) if more else ""
        return BufferPage(heads, token)

    async def update(
        self,
        principal: Principal,
        name: BufferName,
        draft: BufferDraft,
        fields: Sequence[str],
        *,
        patch: Source | None = None,
        etag: str = "",
        request_id: str = "",
    ) -> Head:
        """Replace the named fields by what the draft has.

        Parameters
        ----------
        patch : str or mapping, optional
            A JSON merge patch for the metadata. Not together with `metadata` in the fields.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID, DOCUMENT_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        Conflict
            ETAG_MISMATCH: the buffer has changed.
        NotFound
            RESOURCE_NOT_FOUND.
        """
        for one in fields:
            if one not in EDITABLE:
                raise InvalidArgument(
                    f"update_mask: {one!r} is no field that can be replaced; these are {', '.join(EDITABLE)}",
                    field="update_mask",
                )
        if patch is not None and "metadata" in fields:
            raise InvalidArgument("metadata_patch: metadata is in the mask too; leave one out", field="metadata_patch")
        await self._catalogs.require(principal, name.parent)
        description, metadata, policy = await self._checked(draft)
        changes = None if patch is None else await self._reader.read(patch, field="metadata_patch")
        now = self._means.now()
        text = "" if changes is None else changes.text
        asked = ("update", principal.name, str(name), description, metadata, policy, sorted(fields), text, etag)
        for _ in range(self._limits.max_retries):
            before = (await self._board.read(name)).head
            if changes is not None:
                metadata = bounded((await self._reader.patched(before.metadata, changes))[0].text)

            def decide(head: Head, base: str = before.metadata, metadata: str = metadata) -> Head | None:
                if self._is_repeat(head, now, request_id, *asked):
                    return None
                check_etag(head, etag)
                if changes is not None and head.metadata != base:
                    raise _Changed
                new = replace(
                    head,
                    description=description if "description" in fields else head.description,
                    metadata=metadata if changes is not None or "metadata" in fields else head.metadata,
                    policy=policy if "policy" in fields else head.policy,
                )
                if new == head:
                    return None
                changed = marked(new, now, request_id, *asked)
                return changed.noting(EventKind.UPDATED, now, principal.name)

            try:
                return await self._change(name, decide)
            except _Changed:
                continue
        raise Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1)

    async def finish(self, principal: Principal, name: BufferName, next_buffer: str = "") -> Head:
        """Say that no more records will come. Doing it again changes nothing.

        Parameters
        ----------
        next_buffer : str
            Where the stream goes on, `catalogs/{catalog}/buffers/{buffer}`; empty: nowhere.

        Raises
        ------
        Frozen
            BUFFER_FROZEN: somebody holds a freeze.
        NotFound
            RESOURCE_NOT_FOUND.
        """
        if next_buffer and parse_buffer(next_buffer, field="next_buffer") == name:
            raise InvalidArgument(f"next_buffer: {name} cannot go on in itself", field="next_buffer")
        await self._catalogs.require(principal, name.parent)
        now = self._means.now()

        def decide(head: Head) -> Head | None:
            if head.state is State.FINISHED:
                return None
            if (error := refusal(head)) is not None:
                raise error
            new = replace(
                head, state=State.FINISHED, next_buffer=next_buffer, version=head.version + 1, update_time=now
            )
            return new.noting(EventKind.FINISHED, now, principal.name, next_buffer and f"goes on in {next_buffer}")

        return await self._change(name, decide)

    async def note(self, principal: Principal, name: BufferName, message: str, *, request_id: str = "") -> Event:
        """Write a note of 1 to 10,000 characters into the event log, and return it. Raises NotFound."""
        if not message:
            raise InvalidArgument("message: it is empty; say something", field="message")
        check_text(message, field="message", most=MAX_MESSAGE)
        await self._catalogs.require(principal, name.parent)
        now = self._means.now()
        asked = ("note", principal.name, str(name), message)

        def decide(head: Head) -> Head | None:
            if self._is_repeat(head, now, request_id, *asked):
                return None
            number = head.next_event
            noted = head.noting(EventKind.NOTE, now, principal.name, message)
            return replace(noted, request=with_last(head.request, mark(request_id, number, *asked)))

        head = await self._change(name, decide)
        first = repeated(head.request.partition("\n")[2], request_id, *asked)
        number = first if first is not None else head.next_event - 1
        for event in head.events:
            if event.number == number:
                return event
        kept = await self._documents.fetch(EVENTS, f"{head.uid}/{number:019d}")
        assert kept is not None
        return event_of(kept.body)

    async def delete(self, principal: Principal, name: BufferName, *, etag: str = "", force: bool = False) -> None:
        """Remove a buffer with the records that are in no batch; batches stay.

        Raises
        ------
        ResourceInUse
            RESOURCE_IN_USE: it holds such records and `force` is not set.
        Conflict
            ETAG_MISMATCH: it has changed. CONTENTION: a window is just being sealed.
        NotFound
            RESOURCE_NOT_FOUND.
        """
        await self._catalogs.require(principal, name.parent)
        for _ in range(self._limits.max_retries):
            async with self._board.turn(name):
                standing = await find_standing(self._documents, name)
                if standing is None:
                    raise missing(name)
                head = standing.head
                check_etag(head, etag)
                if head.window_records and not force:
                    raise ResourceInUse(
                        f"{name} holds {head.window_records} records that are in no batch; unfreeze or rotate it "
                        "first, or use force",
                        resource=name,
                    )
                if head.closing:
                    raise Contention(f"{name}: a window is just being sealed; try again", retry_seconds=1.0)
                sealed = [segment for segment in head.segments if segment.first < head.window_first]
                if sealed:
                    await self._remembering.index(head, sealed)
                gone = gone_document(head, self._means.now())
                is_removed = await self._documents.replace(BUFFERS, gone, expected_revision=standing.revision)
                if is_removed is not None:
                    self._board.forget(name)
                    await self._clear(name, head.uid)
                    return
        raise Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1)

    async def expire(self) -> int:
        """Finish what removals have left undone, and forget what need not be known any longer. For a background job."""
        before = microseconds(self._means.now() - REMEMBERED)
        after: Position | None = None
        removed = await self._remembering.expire()
        while found := await self._documents.find(BUFFERS, where=Exists(GONE), after=after, limit=100):
            for item in found:
                body: Mapping[str, Any] = item.document.body
                await self._clear(parse_buffer(item.document.key), body["uid"])
                if body["gone"] < before:
                    key, revision = item.document.key, item.document.revision
                    removed += await self._documents.remove(BUFFERS, key, expected_revision=revision)
            after = found[-1].position
        return removed

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _change(self, name: BufferName, decide: Callable[[Head], Head | None]) -> Head:
        return await change_head(self._documents, self._board, self._means, name, decide)

    async def _clear(self, name: BufferName, uid: str) -> None:
        """Remove what is left of a buffer that is gone. May be done again."""
        await self._remembering.forget(uid)
        await self._documents.remove(TURNS, uid)
        for also in self._remove_also:
            await also(name, uid)

    async def _checked(self, draft: BufferDraft) -> tuple[str, str, Policy]:
        """Return description, metadata and policy as they are kept."""
        description = check_text(draft.description, field="buffer.description", most=MAX_DESCRIPTION)
        source = "{}" if draft.metadata is None else draft.metadata
        metadata = await self._reader.read(source, field="buffer.metadata")
        return description, bounded(metadata.text), checked_policy(draft.policy)

    def _is_repeat(self, head: Head, now: datetime, request_id: str, *asked: object) -> bool:
        """Tell whether the newest change of a buffer was made by this request."""
        last = head.request.partition("\n")[2]
        return repeated(last, request_id, *asked) is not None


class _Changed(Exception):
    """What a change was worked out from is no longer so."""
