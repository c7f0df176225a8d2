"""Leases on names: begun, renewed, released, taken over, and ended when their time is over."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace

from measurand.core.dataset_edits import Source
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import Metadata, MetadataReader
from measurand.core.ports import DocumentStore
from measurand.core.principal import Principal
from measurand.core.registry.documents import (
    Registration,
    RegistrationDraft,
)
from measurand.core.registry.endpoints import MAX_METADATA_BYTES, check_draft, check_endpoint
from measurand.core.registry.floor import epoch_floor
from measurand.core.registry.lease_ids import LeaseIds, digest_of, proves
from measurand.core.registry.lease_writes import LeaseWrites, number_in
from measurand.core.registry.names import RegistrationName
from measurand.core.registry.standing import Standing, look
from measurand.core.requests import Request, check_request_id, is_repeat, make_request
from measurand.wire.errors import Contention, LeaseHeld, LeaseLost, PermissionDenied, TooLarge, WriterFenced

__all__ = ["Leased", "Leasing"]

_TURNS = 64
GROUP_SECONDS = 0.25
"""Renewals that come within so long are stored together: a commit for each would cost more than all the rest."""
_GROUPED = 15_000_000
"""Leases that live for fewer microseconds do not wait for that."""


@dataclass(frozen=True, slots=True)
class Leased:
    """A registration, and the secret that proves its lease."""

    registration: Registration
    lease_id: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one call of `register` wants."""

    principal: Principal
    name: RegistrationName
    draft: RegistrationDraft
    metadata: Metadata
    request: Request | None
    request_id: str


class Leasing:
    """Who holds which name.

    Parameters
    ----------
    group_seconds : float
        So long a renewal waits for others.
    """

    def __init__(
        self,
        documents: DocumentStore,
        writes: LeaseWrites,
        reader: MetadataReader,
        means: Means,
        limits: Limits,
        *,
        group_seconds: float = GROUP_SECONDS,
    ) -> None:
        self._group_seconds = group_seconds
        self._documents = documents
        self._reader = reader
        self._means = means
        self._limits = limits
        self._lease_ids = LeaseIds(documents, means)
        self._writes = writes
        self._group = asyncio.Event()
        self._group.set()
        self._turns = tuple(asyncio.Lock() for _ in range(_TURNS))

    async def register(
        self,
        principal: Principal,
        name: RegistrationName,
        draft: RegistrationDraft,
        *,
        lease_id: str = "",
        take_over: bool = False,
        request_id: str = "",
    ) -> Leased:
        """Take a name. Durable when it returns.

        Parameters
        ----------
        lease_id : str
            Of a lease that is to go on. Where it is over and the name is free, a new one begins.
        take_over : bool
            End a lease of the same owner that is in the way.

        Raises
        ------
        LeaseHeld
            LEASE_HELD: another lease on the name is alive.
        PermissionDenied
            PERMISSION_DENIED: the one to be taken over is another user's.
        """
        draft = check_draft(draft)
        metadata = await self._metadata(draft.metadata, "registration.metadata")
        said = (draft.endpoint, draft.other_endpoints, sorted(draft.labels.items()), draft.ttl, metadata.text)
        if request_id:
            check_request_id(request_id)
        request = make_request(
            hashlib.sha256(request_id.encode()).hexdigest() if request_id else "",
            self._means.now(),
            self._limits,
            *("register", principal.name, name, said, lease_id, take_over),
        )
        asked = _Asked(principal, name, draft, metadata, request, request_id)
        async with self._turns[hash(name) % _TURNS]:
            for _ in range(self._limits.max_retries):
                found = await look(self._documents, name)
                leased = await self._registered(asked, found, lease_id, take_over=take_over)
                if leased is not None:
                    return leased
        raise self._contention(name)

    async def renew(
        self,
        principal: Principal,
        name: RegistrationName,
        lease_id: str,
        *,
        metadata: Source | None = None,
        endpoint: str = "",
    ) -> Registration:
        """Keep a registration alive, and change what it says where that is given. Durable when it returns.

        Raises
        ------
        LeaseLost
            LEASE_LOST: it ran out, was released or was taken over.
        """
        endpoint = check_endpoint(endpoint, field="endpoint")
        read = None if metadata is None else await self._metadata(metadata, "metadata")
        if (known := self._writes.known.get(name)) is not None:
            await self._together(known)
        async with self._turns[hash(name) % _TURNS]:
            for _ in range(self._limits.max_retries):
                found = self._writes.known.pop(name, None) or Standing(name)
                present = self._held(found, lease_id)
                if present is None:  # it may have been renewed at another server
                    found = await look(self._documents, name)
                    present = self._held(found, lease_id)
                if present is None:
                    raise LeaseLost(
                        f"{name}: this lease is over, it ran out, was released or was taken over; register again",
                        resource=name,
                    )
                _check_owner(principal, present)
                new = replace(
                    present,
                    endpoint=endpoint or present.endpoint,
                    metadata=present.metadata if read is None else read.text,
                )
                renewed = await self._writes.go_on(found, present, new)
                if renewed is not None:
                    return renewed
        raise self._contention(name)

    async def release(self, principal: Principal, name: RegistrationName, lease_id: str = "") -> None:
        """Give a name up. Releasing what is gone changes nothing. Without a lease's id: whoever of the caller holds it.

        Raises
        ------
        WriterFenced
            WRITER_FENCED: another lease holds it now.
        PermissionDenied
            PERMISSION_DENIED: it is another user's.
        """
        async with self._turns[hash(name) % _TURNS]:
            for _ in range(self._limits.max_retries):
                found = await look(self._documents, name)
                present = found.live(self._means.now())
                if present is None:
                    return
                if lease_id and not proves(lease_id, present.lease_digest):
                    raise WriterFenced(
                        f"{name}: another lease, of epoch {present.epoch}, holds it now; yours is over",
                        resource=name,
                        epoch=present.epoch,
                    )
                _check_owner(principal, present)
                if await self._writes.end(found) is not None:
                    return
        raise self._contention(name)

    async def _registered(self, asked: _Asked, found: Standing, lease_id: str, *, take_over: bool) -> Leased | None:
        """Return what `register` comes to. None: something has changed meanwhile."""
        now = self._means.now()
        present = found.live(now)
        if present is None:
            return await self._begin(asked, found)
        assert found.document is not None
        if asked.request is not None and is_repeat(asked.request, found.document.body["request"], now):
            shown = lease_id or await self._lease_ids.make(asked.name, present.epoch, asked.request_id)
            if proves(shown, present.lease_digest):
                return Leased(present, shown)
        if lease_id and proves(lease_id, present.lease_digest):
            _check_owner(asked.principal, present)
            new = replace(
                present,
                endpoint=asked.draft.endpoint,
                other_endpoints=asked.draft.other_endpoints,
                labels=asked.draft.labels,
                ttl=asked.draft.ttl,
                metadata=asked.metadata.text,
            )
            kept = await self._writes.go_on(found, present, new, asked.request)
            return None if kept is None else Leased(kept, lease_id)
        if take_over:
            _check_owner(asked.principal, present)
            return await self._begin(asked, found)
        raise _held(present)

    async def _begin(self, asked: _Asked, found: Standing) -> Leased | None:
        """Begin a new lease where none is alive, or in the place of one that is. None: it is no longer as found."""
        before = found.document
        if before is not None and before.body["gone"] is None:
            before = await self._writes.end(found)
            if before is None:
                return None
            found = await look(self._documents, found.name)
        epoch = 1 + (await epoch_floor(self._documents) if before is None else number_in(before, "epoch"))
        lease_id = await self._lease_ids.make(asked.name, epoch, asked.request_id)
        now, draft = self._means.now(), asked.draft
        new = Registration(
            name=asked.name,
            endpoint=draft.endpoint,
            other_endpoints=draft.other_endpoints,
            metadata=asked.metadata.text,
            labels=draft.labels,
            ttl=draft.ttl,
            epoch=epoch,
            revision=1,
            owner=asked.principal.name,
            create_time=now,
            renew_time=now,
            lease_digest=digest_of(lease_id),
        )
        view = asked.metadata.view
        is_begun = await self._writes.begin(found, before, new, view, asked.request)
        return Leased(new, lease_id) if is_begun else None

    def _held(self, found: Standing, lease_id: str) -> Registration | None:
        present = found.live(self._means.now())
        return present if present is not None and proves(lease_id, present.lease_digest) else None

    async def _together(self, known: Standing) -> None:
        """Wait a moment for other renewals."""
        ttl = None if known.document is None else known.document.body["ttl"]
        if not isinstance(ttl, int) or ttl < _GROUPED:
            return
        if self._group.is_set():
            self._group = asyncio.Event()
            asyncio.get_running_loop().call_later(self._group_seconds, self._group.set)
        await self._group.wait()

    async def _metadata(self, source: Source | None, field: str) -> Metadata:
        read = await self._reader.read("{}" if source is None else source, field=field)
        if read.size > MAX_METADATA_BYTES:
            raise TooLarge(
                f"{field}: the document has {read.size} bytes as text; the most is {MAX_METADATA_BYTES}",
                limit=MAX_METADATA_BYTES,
                actual=read.size,
                field=field,
            )
        return read

    def _contention(self, name: RegistrationName) -> Contention:
        return Contention(
            f"{name}: others changed it {self._limits.max_retries} times meanwhile; try again", retry_seconds=0.1
        )


def _check_owner(principal: Principal, registration: Registration) -> None:
    if principal.name != registration.owner:
        raise PermissionDenied(
            f"{registration.name} is registered by {registration.owner}; only its owner changes or ends it",
            resource=registration.name,
            permission="registry.administer",
        )


def _held(registration: Registration) -> LeaseHeld:
    name, ends = registration.name, registration.expire_time
    until = "it is released" if ends is None else ends.isoformat().replace("+00:00", "Z")
    error = LeaseHeld(
        f"{name} is held by {registration.owner} until {until}; wait for its end, or take it over if it is yours",
        resource=name,
        owner=registration.owner,
        epoch=registration.epoch,
    )
    if ends is not None:
        error.details["expire_time"] = until
    return error
