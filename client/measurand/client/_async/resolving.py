"""Where something is served: looked up once and remembered, also while the registry is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from measurand.client import methods
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.address import Address, parse_address
from measurand.client.registrations import Registration, registration_name
from measurand.v1 import common_pb2, registry_pb2
from measurand.wire.errors import InvalidArgument, MeasurandError, NotFound, Unavailable

__all__ = ["AsyncResolver", "AsyncRoute"]

LONGEST = 60.0
"""A finding is remembered for as long as it has to live, but no longer than this."""
MISS_SECONDS = 5.0
"""That nothing was found is remembered for so long; and where the registry is away, that it is."""
FRESH_SECONDS = 1.0
"""What is younger is not asked for anew, even if a connection failed."""
PATIENCE = 2.0
"""So long is the registry waited for where something is known from before."""


@dataclass(slots=True)
class _Known:
    registration: Registration | None
    failure: NotFound | None
    asked: float
    until: float


class AsyncResolver:
    """Looks up what is registered, and remembers it.

    Parameters
    ----------
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, calls: AsyncCalls, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls = calls
        self._clock = clock
        self._known: dict[tuple[str, str], _Known] = {}
        self._turn = aio.Lock()

    async def resolve(self, kind: str, name: str, *, anew: bool = False) -> Registration:
        """Return what is registered under a name.

        Parameters
        ----------
        anew : bool
            What is remembered has turned out wrong: ask again, unless that was done within the last second.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: nothing is; the details say when it was last seen.
        Unavailable
            The registry does not answer, and nothing is known from before.
        """
        async with self._turn:
            now = self._clock()
            known = self._known.get((kind, name))
            if known is None or now >= known.until or (anew and now >= known.asked + FRESH_SECONDS):
                known = self._known[kind, name] = await self._ask(kind, name, known)
            if known.registration is not None:
                return known.registration
            assert known.failure is not None
            raise known.failure

    async def _ask(self, kind: str, name: str, known: _Known | None) -> _Known:
        request = registry_pb2.GetRegistrationRequest(
            name=registration_name(kind, name), document_form=common_pb2.DOCUMENT_FORM_JSON
        )
        was_found = known is not None and known.registration is not None
        try:
            answer = await self._calls.unary(
                methods.GET_REGISTRATION, request, patience=PATIENCE if was_found else None
            )
        except NotFound as failure:
            now = self._clock()
            return _Known(None, failure, now, now + MISS_SECONDS)
        except MeasurandError:
            if known is None or known.registration is None:
                raise
            now = self._clock()
            return _Known(known.registration, None, now, now + MISS_SECONDS)
        found, now = Registration.of(answer), self._clock()
        left = LONGEST if found.time_left is None else min(found.time_left, LONGEST)
        return _Known(found, None, now, now + left)


class AsyncRoute:
    """The way to one registered server, which may move.

    Parameters
    ----------
    address : Address
        `measurand://kind/name`, with where the registry is.
    calls : AsyncCalls
        To the registry; closed with the route.
    """

    def __init__(self, address: Address, calls: AsyncCalls) -> None:
        self._address = address
        self._calls = calls
        self._resolver = AsyncResolver(calls)
        self._kind, _, self._name = address.registered.partition("/")
        self._etag = ""

    async def find(self) -> Address:
        """Return where the server is. Raises NotFound, Unavailable, and InvalidArgument for what is no server."""
        found = await self._resolver.resolve(self._kind, self._name)
        self._etag = found.etag
        return self._addresses(found)[0]

    async def find_anew(self, failed: Address) -> tuple[Address, bool]:
        """Return where to go after a connection failed, and whether that is a place that was not known before."""
        try:
            found = await self._resolver.resolve(self._kind, self._name, anew=True)
        except (NotFound, Unavailable):  # it may be on its way to another place: the old one is tried meanwhile
            return failed, False
        ways = self._addresses(found)
        if found.etag != self._etag:
            self._etag = found.etag
            return ways[0], ways[0].target != failed.target
        targets = [way.target for way in ways]
        following = targets.index(failed.target) + 1 if failed.target in targets else 0
        return ways[following % len(ways)], False

    async def close(self) -> None:
        """Close the connection to the registry."""
        await self._calls.close()

    def _addresses(self, found: Registration) -> list[Address]:
        ways: list[Address] = []
        for endpoint in found.endpoints:
            if endpoint.startswith(("grpc://", "grpcs://")):
                there = parse_address(endpoint)
                tls = self._address.tls if there.tls and self._address.tls else there.tls
                ways.append(Address(there.target, tls=tls, token=self._address.token))
        if not ways:
            raise InvalidArgument(
                f"{self._address}: {found.endpoint or 'what is registered there'} is no measurand server, which has an "
                "endpoint grpc://host:port",
                field="url",
            )
        return ways
