"""The registry: who serves what, where, and until when."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from measurand.client import methods, names, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.leases import AsyncLease
from measurand.client._async.resolving import AsyncResolver
from measurand.client.buffer_settings import Span
from measurand.client.registrations import Registration, RegistrationChange, draft_message, registration_name
from measurand.v1 import common_pb2, registry_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["AsyncRegistry"]

JSON = common_pb2.DOCUMENT_FORM_JSON
ALL = "-"
NAMES_AT_ONCE = 1000

Registrations = list[Registration]


class AsyncRegistry:
    """The registry of a server. Reached as `client.registry`."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls
        self._resolver = AsyncResolver(calls)

    def register(
        self,
        kind: str,
        name: str,
        endpoint: str = "",
        *,
        ttl: Span | None = 30.0,
        metadata: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        other_endpoints: Iterable[str] = (),
        take_over: bool = False,
    ) -> AsyncLease:
        """Hold a name for a `with` block: it is renewed by itself, taken anew after an outage, released in the end.

        Parameters
        ----------
        kind, name : str
            What it is found by, each of 1 to 128 of `a-z 0-9 . _ -`.
        endpoint : str
            Where it is served: a URL with a scheme and a host, without credentials.
        ttl : float, str or timedelta, optional
            How long others find it after this program has died, 1 second to 24 hours. None: until it is released.
        metadata, labels : mapping, optional
            What others should know, at most 64 KiB; labels can be filtered by, as can the metadata.
        other_endpoints : iterable of str
            Other ways to the same.
        take_over : bool
            End the lease of an earlier run of this program.

        Raises
        ------
        LeaseHeld
            LEASE_HELD: somebody else holds the name; the details say until when.

        Examples
        --------
        >>> async with client.registry.register("gateway", "site-a", "grpc://host:1") as lease:  # doctest: +SKIP
        ...     serve(fencing_token=lease.epoch)
        """
        draft = draft_message(
            kind, name, endpoint, ttl=ttl, metadata=metadata, labels=labels, other_endpoints=other_endpoints
        )
        return AsyncLease(self._calls, draft, take_over=take_over)

    async def put(
        self,
        kind: str,
        name: str,
        endpoint: str = "",
        *,
        ttl: Span | None = None,
        metadata: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        other_endpoints: Iterable[str] = (),
    ) -> Registration:
        """Register something that stays until it is released, in the place of what the caller had there.

        Parameters are those of `register`; with a `ttl` it ends by itself, for nobody renews it.

        Raises
        ------
        PermissionDenied
            PERMISSION_DENIED: the name is somebody else's.
        """
        draft = draft_message(
            kind, name, endpoint, ttl=ttl, metadata=metadata, labels=labels, other_endpoints=other_endpoints
        )
        request = registry_pb2.RegisterRequest(
            registration=draft, take_over=True, document_form=JSON, request_id=names.request_id()
        )
        return Registration.of((await self._calls.unary(methods.REGISTER, request)).registration)

    async def release(self, kind: str, name: str, *, lease_id: str = "") -> None:
        """Give a name up. Releasing what is gone changes nothing. Without a lease's id: whoever of ours holds it."""
        request = registry_pb2.ReleaseRegistrationRequest(name=registration_name(kind, name), lease_id=lease_id)
        await self._calls.unary(methods.RELEASE_REGISTRATION, request)

    async def get(self, kind: str, name: str) -> Registration:
        """Return what is registered now. NotFound: nothing is; its `last_seen` says since when."""
        request = registry_pb2.GetRegistrationRequest(name=registration_name(kind, name), document_form=JSON)
        return Registration.of(await self._calls.unary(methods.GET_REGISTRATION, request))

    async def resolve(self, kind: str, name: str) -> Registration:
        """Return what is registered, from memory where that is fresh: it may be old by as long as it had to live.

        A finding is remembered for its time left, at most a minute, and a miss for five seconds. While the registry is
        away, what was found before is returned.
        """
        return await self._resolver.resolve(kind, name)

    async def get_many(self, kind: str, names: Iterable[str]) -> dict[str, Registration]:
        """Return those of these names that are registered, by name."""
        left = [registration_name(kind, name) for name in names]
        found: dict[str, Registration] = {}
        while left:
            request = registry_pb2.BatchGetRegistrationsRequest(
                parent=f"registry/{kind}", names=left[:NAMES_AT_ONCE], document_form=JSON
            )
            answer = await self._calls.unary(methods.BATCH_GET_REGISTRATIONS, request)
            for message in answer.registrations:
                registration = Registration.of(message)
                found[registration.name] = registration
            left = [*answer.left_over, *left[NAMES_AT_ONCE:]]
        return found

    async def list(self, kind: str = ALL, *, filter: str = "") -> Registrations:  # noqa: A002
        """Return all of a kind, or of all kinds, by name.

        Parameters
        ----------
        filter : str
            Over `id`, `kind`, `endpoint`, `labels`, `owner` and the metadata.
        """
        found: Registrations = []
        request = registry_pb2.ListRegistrationsRequest(
            parent=f"registry/{kind}", page_size=1000, filter=filter, document_form=JSON
        )
        while True:
            page = await self._calls.unary(methods.LIST_REGISTRATIONS, request)
            found += [Registration.of(message) for message in page.registrations]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def watch(
        self, kind: str = ALL, *, include_existing: bool = False, resume: str = ""
    ) -> AsyncGenerator[RegistrationChange, None]:
        """Yield what comes, changes and goes, from this call on; goes on by itself after a lost connection.

        At least once, and in order for any one name. Renewals that change nothing are not told.

        Parameters
        ----------
        include_existing : bool
            First what is registered now.
        resume : str
            The `resume_token` of an earlier change: go on right after it.

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED: the resume token is older than the kept history; list, then watch anew.
        """
        request = registry_pb2.WatchRegistrationsRequest(
            parent=f"registry/{kind}", include_existing=include_existing, resume_token=resume, document_form=JSON
        )
        if not resume and not include_existing:
            poll = registry_pb2.PollRegistrationsRequest(parent=request.parent)
            request.resume_token = (await self._calls.unary(methods.POLL_REGISTRATIONS, poll)).resume_token
        return self._follow(request)

    async def _follow(
        self, request: registry_pb2.WatchRegistrationsRequest
    ) -> AsyncGenerator[RegistrationChange, None]:
        transport = await self._calls.transport()
        tries = self._calls.tries()
        while True:
            try:
                async with aclosing(transport.stream(methods.WATCH_REGISTRATIONS, request)) as changes:
                    async for change in changes:
                        tries.progress()
                        # The token of one that existed says which of the others are still to be told.
                        request.resume_token = change.resume_token
                        request.include_existing = False
                        if change.kind != common_pb2.CHANGE_KIND_HEARTBEAT:
                            kind = common_pb2.ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_").lower()
                            yield RegistrationChange(kind, Registration.of(change.registration), change.resume_token)
            except MeasurandError as error:
                if not retries.may_reopen(error):
                    raise
                await self._calls.pause(tries, error)
