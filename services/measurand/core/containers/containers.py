"""Containers: added, found, changed, drained and taken out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from measurand.core.containers.documents import (
    BEATS,
    CONTAINER_FIELDS,
    CONTAINERS,
    HOME,
    Beat,
    Container,
    State,
    beat_document,
    container_document,
    container_of,
    full_name,
)
from measurand.core.containers.drafts import checked_draft
from measurand.core.containers.placements import PLACEMENTS, in_container
from measurand.core.containers.sites import Room, Site, Sites
from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.parser import parse_filter
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import check_id
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import Document, DocumentStore
from measurand.core.principal import Principal
from measurand.core.registry.lease_ids import LeaseIds, digest_of, proves
from measurand.core.ulid import make_ulid
from measurand.wire.errors import (
    AlreadyExists,
    Conflict,
    Contention,
    FailedPrecondition,
    InvalidArgument,
    LeaseHeld,
    LeaseLost,
    NotFound,
    ResourceInUse,
)

__all__ = ["EDITABLE", "Containers", "Registered", "Shown"]

EDITABLE = (
    "title",
    "zone",
    "labels",
    "weight",
    "read_only",
    "max_bytes",
    "annual_failure_rate",
    "write_bandwidth",
    "read_bandwidth",
)
"""What an update may replace, as the contract calls it."""

_ATTRIBUTES = {"read_only": "is_read_only"}


class Probe(Protocol):
    """Tries a place out, and takes it for this deployment."""

    async def __call__(self, container: Container, others: Collection[str], /) -> Room:
        """Return how much room there is, if it can be used.

        Parameters
        ----------
        others : collection of str
            The uids of all other containers.

        Raises
        ------
        Unavailable
            It does not answer, or one of the verbs fails.
        FailedPrecondition
            STATE_WRONG: it belongs to another deployment, or is another container already.
        """
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A container with what this process knows of it."""

    container: Container
    state: State
    site: Site | None


@dataclass(frozen=True, slots=True)
class Registered:
    """A container that was added, and the secret of the process that serves it (empty for others)."""

    shown: Shown
    lease_id: str


class Containers:
    """All containers.

    Parameters
    ----------
    sites : Sites
        This process's view of them.
    probe : callable
        Tries a new one out.
    """

    def __init__(
        self,
        documents: DocumentStore,
        sites: Sites,
        probe: Probe,
        means: Means,
        limits: Limits,
        *,
        compile_pattern: CompilePattern,
    ) -> None:
        self._documents = documents
        self._sites = sites
        self._probe = probe
        self._means = means
        self._limits = limits
        self._compile_pattern = compile_pattern
        self._lease_ids = LeaseIds(documents, means)

    # ------------------------------------------------------------------------------------------------- coming and going

    async def ensure_home(self) -> None:
        """Make the container that the server's own store is, unless it is there."""
        home = Container(HOME, self._ulid(), "home", "", self._means.now())
        await self._documents.insert_many(CONTAINERS, [container_document(home)])

    async def register(
        self, principal: Principal, draft: Container, *, rejoin: bool = False, lease_id: str = "", request_id: str = ""
    ) -> Registered:
        """Add a container, or take up one that comes back.

        Parameters
        ----------
        draft : Container
            What the caller says; `uid`, `kind` and times are not looked at.
        rejoin : bool
            There is one of this name already: take it up with what it holds.
        lease_id : str
            From an earlier answer: proves that it is the same process's container.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: there is one of this name.
        LeaseHeld
            LEASE_HELD: another process serves it, and is alive.
        Unavailable, FailedPrecondition
            As the probe says.
        """
        draft = checked_draft(replace(draft, id=check_id(draft.id, field="container.name")))
        if draft.kind == "home" or draft.id == HOME:
            raise AlreadyExists(
                "containers/home is the server's own store; choose another name", resource="containers/home"
            )
        others = await self._others(draft)
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(CONTAINERS, full_name(draft.id))
            if current is None:
                registered = await self._add(draft, others, request_id)
            else:
                registered = await self._take_up(
                    container_of(current), current, draft, others, rejoin, lease_id, request_id
                )
            if registered is not None:
                await self._sites.refresh()
                return Registered(self._shown(registered[0]), registered[1])
        raise Contention(f"{full_name(draft.id)}: others keep changing it; try again", retry_seconds=0.1)

    async def beat(self, principal: Principal, container_id: str, lease_id: str, beat: Beat) -> State:
        """Note that a container is alive and how full it is, and return what it is to be.

        Raises
        ------
        LeaseLost
            LEASE_LOST: it was removed, or registered anew by another process.
        """
        current = await self._documents.fetch(CONTAINERS, full_name(container_id))
        container = container_of(current) if current is not None else None
        if container is None or not container.lease_digest or not proves(lease_id, container.lease_digest):
            raise LeaseLost(
                f"{full_name(container_id)} was removed, or another process serves it now; register again",
                resource=full_name(container_id),
            )
        await keep_beat(self._documents, container_id, replace(beat, uid=container.uid, time=self._means.now()))
        if container.is_draining:
            return "draining"
        return "read_only" if container.is_read_only else "active"

    async def remove(self, principal: Principal, container_id: str, *, force: bool = False) -> None:
        """Take a container out; what it held stays in it.

        Raises
        ------
        ResourceInUse
            RESOURCE_IN_USE: it holds parts, and `force` is not set.
        """
        current = await self._require(container_id)
        if container_id == HOME:
            raise FailedPrecondition(
                "containers/home is the server's own store and stays; drain it, or make it read-only",
                resource="containers/home",
                state="active",
            )
        if not force:
            held = await self._documents.count(PLACEMENTS, where=in_container(container_id), most=1)
            if held:
                raise ResourceInUse(
                    f"{full_name(container_id)} holds parts of blobs; drain it first, or use force if it is lost",
                    resource=full_name(container_id),
                )
        await self._documents.remove(CONTAINERS, current.key)
        await self._documents.remove(BEATS, current.key)
        await self._sites.refresh()

    # ---------------------------------------------------------------------------------------------------------- looking

    async def get(self, principal: Principal, container_id: str) -> Shown:
        """Return one container. Raises NotFound."""
        return self._shown(container_of(await self._require(container_id)))

    async def page(
        self, principal: Principal, *, size: int = 0, page_token: str = "", filter_text: str = ""
    ) -> tuple[Sequence[Shown], str]:
        """Return a page of the containers by name, and the token of the next."""
        limit = page_size(size, self._limits)
        request = ("containers", filter_text)
        start = open_token(page_token, request=request, values=0, now=self._means.now())
        where = parse_filter(filter_text, system=CONTAINER_FIELDS, now=start.now, compile_pattern=self._compile_pattern)
        found = await self._documents.find(CONTAINERS, where=where, after=start.after, limit=limit + 1)
        page = found[:limit]
        shown = [self._shown(container_of(item.document)) for item in page]
        token = make_token(page[-1].position, request=request, now=start.now) if len(found) > limit else ""
        return shown, token

    # --------------------------------------------------------------------------------------------------------- changing

    async def update(self, principal: Principal, draft: Container, fields: Sequence[str], *, etag: str = "") -> Shown:
        """Replace the named fields by what the draft has. Raises Conflict (ETAG_MISMATCH) when it has changed."""
        for name in fields:
            if name not in EDITABLE:
                raise InvalidArgument(
                    f"update_mask: {name!r} is no field that can be replaced; these are {', '.join(EDITABLE)}",
                    field="update_mask",
                )
        names = [_ATTRIBUTES.get(name, name) for name in fields]
        draft = checked_draft(draft, with_uri=False)
        return await self._change(
            draft.id, lambda before: replace(before, **{name: getattr(draft, name) for name in names}), etag=etag
        )

    async def set_draining(self, principal: Principal, container_id: str, *, draining: bool) -> Shown:
        """Let a container take no more blobs because it is to be emptied, or take them again."""
        return await self._change(container_id, lambda before: replace(before, is_draining=draining))

    async def _change(self, container_id: str, decide: Callable[[Container], Container], *, etag: str = "") -> Shown:
        for _ in range(self._limits.max_retries):
            current = await self._require(container_id)
            before = container_of(current)
            if etag and etag != before.etag:
                raise Conflict(
                    f"{current.key} has changed since it was read; read it again and decide anew",
                    resource=current.key,
                    etag=before.etag,
                )
            after = decide(before)
            if after == before:
                return self._shown(before)
            after = replace(after, version=before.version + 1)
            document = container_document(after)
            if await self._documents.replace(CONTAINERS, document, expected_revision=current.revision) is not None:
                await self._sites.refresh()
                return self._shown(after)
        raise Contention(f"{full_name(container_id)}: others keep changing it; try again", retry_seconds=0.1)

    # -------------------------------------------------------------------------------------------------------- the rest

    async def _add(self, draft: Container, others: Collection[str], request_id: str) -> tuple[Container, str] | None:
        uid = self._ulid()
        lease_id = await self._lease_id(draft, uid, request_id)
        container = replace(
            draft,
            uid=uid,
            create_time=self._means.now(),
            lease_digest=digest_of(lease_id) if lease_id else "",
            request=digest_of(request_id) if request_id else "",
        )
        room = await self._probe(container, others)
        stored = (await self._documents.insert_many(CONTAINERS, [container_document(container)]))[0]
        if not stored:
            return None
        await self._keep_first_beat(container, room)
        return container, lease_id

    async def _take_up(
        self,
        container: Container,
        current: Document,
        draft: Container,
        others: Collection[str],
        rejoin: bool,
        lease_id: str,
        request_id: str,
    ) -> tuple[Container, str] | None:
        is_own = bool(container.lease_digest) and proves(lease_id, container.lease_digest)
        if request_id and container.request == digest_of(request_id):
            return container, await self._lease_id(container, container.uid, request_id)
        if not (rejoin or is_own):
            raise AlreadyExists(
                f"{current.key}: there is a container of this name; choose another, or rejoin if it is this one",
                resource=current.key,
            )
        if container.kind != draft.kind:
            raise AlreadyExists(
                f"{current.key} is a {container.kind} container and not {draft.kind}; choose another name",
                resource=current.key,
            )
        if container.lease_digest and not is_own and self._sites.state(container.id) != "down":
            raise LeaseHeld(
                f"{current.key} is served by another process, which is alive; stop that one, or wait until it is down",
                resource=current.key,
            )
        new_lease = lease_id if is_own else await self._lease_id(draft, container.uid, request_id)
        renewed = replace(
            container,
            uri=draft.uri,
            title=draft.title or container.title,
            zone=draft.zone or container.zone,
            labels=draft.labels or container.labels,
            max_bytes=draft.max_bytes or container.max_bytes,
            lease_digest=digest_of(new_lease) if new_lease else "",
            request=digest_of(request_id) if request_id else "",
            version=container.version + 1,
        )
        room = await self._probe(renewed, others)
        document = container_document(renewed)
        if await self._documents.replace(CONTAINERS, document, expected_revision=current.revision) is None:
            return None
        await self._keep_first_beat(renewed, room)
        return renewed, new_lease

    async def _keep_first_beat(self, container: Container, room: Room) -> None:
        beat = Beat(container.uid, self._means.now(), room.capacity_bytes, room.free_bytes)
        await keep_beat(self._documents, container.id, beat)

    async def _others(self, draft: Container) -> Collection[str]:
        """Return the uids of all others. None of them is at the same place, where one loss would take both."""
        uids: set[str] = set()
        for item in await self._documents.find(CONTAINERS, limit=1000):
            other = container_of(item.document)
            if other.id != draft.id and other.kind != "memory" and other.uri == draft.uri:
                raise AlreadyExists(f"{item.document.key} is at {draft.uri} already", resource=item.document.key)
            if other.id != draft.id:
                uids.add(other.uid)
        return uids

    async def _lease_id(self, container: Container, uid: str, request_id: str) -> str:
        """Return a secret for a process that serves its own container."""
        if container.kind != "remote":
            return ""
        return await self._lease_ids.make(f"{full_name(container.id)} {uid}", 0, request_id)

    async def _require(self, container_id: str) -> Document:
        name = full_name(check_id(container_id, field="name"))
        document = await self._documents.fetch(CONTAINERS, name)
        if document is None:
            raise NotFound(f"{name}: there is no such container; list the containers", resource=name)
        return document

    def _shown(self, container: Container) -> Shown:
        site = self._sites.all.get(container.id)
        return Shown(container, self._sites.state(container.id), site)

    def _ulid(self) -> str:
        return make_ulid(self._means.now(), self._means.random_bytes).lower()


async def keep_beat(documents: DocumentStore, container_id: str, beat: Beat) -> None:
    """Store the newest beat of a container."""
    document = beat_document(container_id, beat)
    for _ in range(5):
        current = await documents.fetch(BEATS, document.key)
        if current is None:
            if (await documents.insert_many(BEATS, [document]))[0]:
                return
        elif await documents.replace(BEATS, document, expected_revision=current.revision) is not None:
            return
