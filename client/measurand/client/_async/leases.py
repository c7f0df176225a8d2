"""A name that is held while a program runs: renewed by itself, taken anew after an outage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measurand.client import display, methods, names, values
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.registrations import Registration
from measurand.v1 import common_pb2, registry_pb2
from measurand.wire.errors import (
    AlreadyExists,
    FailedPrecondition,
    LeaseLost,
    MeasurandError,
    PermissionDenied,
    WriterFenced,
)

__all__ = ["AsyncLease"]

JSON = common_pb2.DOCUMENT_FORM_JSON
RELEASE_SECONDS = 5.0
"""So long is a server that is away waited for in the end: the entry then ends by itself."""
SHORTEST_PAUSE = 0.2


class AsyncLease:
    """A registration for the time of a `with` block. Made by `client.registry.register`.

    It is renewed at a third of its time to live. Where it was lost because the server was away for longer, or this
    program stood still, the name is taken anew, unless somebody else has it by then: `is_held` and `failure` tell.
    """

    def __init__(self, calls: AsyncCalls, draft: registry_pb2.Registration, *, take_over: bool) -> None:
        self._calls = calls
        self._draft = draft
        self._take_over = take_over
        self._ttl = draft.ttl.ToTimedelta().total_seconds() if draft.HasField("ttl") else None
        self._registration: Registration | None = None
        self._lease_id = ""
        self._bell = aio.Bell()
        self._turn = aio.Lock()
        self._beside: aio.Beside | None = None
        self._is_over = False
        self.failure: MeasurandError | None = None
        """Why the last renewal failed, if it did."""

    @property
    def registration(self) -> Registration:
        """What is registered, as the server last said."""
        if self._registration is None:
            raise FailedPrecondition(f"{self._draft.name}: the `with` block has not begun", state="not begun")
        return self._registration

    @property
    def epoch(self) -> int:
        """Of the lease: the fencing token to hand to whatever is written to under it."""
        return self.registration.epoch

    @property
    def lease_id(self) -> str:
        """The secret that proves the lease."""
        return self._lease_id

    @property
    def is_held(self) -> bool:
        """The name is ours, as far as is known: False once it was released, or somebody else has taken it."""
        return self._registration is not None and not self._is_over

    async def update(self, *, metadata: Mapping[str, Any] | None = None, endpoint: str = "") -> Registration:
        """Say something new; what is not given stays.

        Raises
        ------
        LeaseLost
            LEASE_LOST: the name is no longer held.
        """
        async with self._turn:
            if metadata is not None:
                self._draft.metadata.json = values.to_text(metadata)  # also for when the name is taken anew
            if endpoint:
                self._draft.endpoint = endpoint
            request = self._renewal()
            request.endpoint = endpoint
            if metadata is not None:
                request.metadata.CopyFrom(self._draft.metadata)
            answer = await self._calls.unary(methods.RENEW_REGISTRATION, request)
            self._registration = Registration.of(answer)
            return self._registration

    async def __aenter__(self) -> AsyncLease:
        await self._register(take_over=self._take_over)
        self._is_over, self._bell = False, aio.Bell()
        if self._ttl is not None:
            self._beside = aio.Beside(self._keep, f"lease on {self._draft.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bell.ring()
        if self._beside is not None and not await self._beside.join(RELEASE_SECONDS):
            await self._beside.give_up()
        was_held, self._is_over = not self._is_over, True
        if not was_held:
            return
        request = registry_pb2.ReleaseRegistrationRequest(name=self._draft.name, lease_id=self._lease_id)
        try:
            await self._calls.unary(methods.RELEASE_REGISTRATION, request, patience=RELEASE_SECONDS)
        except WriterFenced:  # somebody has taken it over, and holds it rightly
            return
        except MeasurandError:
            if self._ttl is None:  # else it ends by itself
                raise

    def __repr__(self) -> str:
        return display.line("Lease", self._draft.name, {"endpoint": self._draft.endpoint, "is_held": self.is_held})

    async def _keep(self) -> None:
        """Renew each third of the time to live, sooner after a failure."""
        assert self._ttl is not None
        pause = self._ttl / 3
        while not await self._bell.wait(0, pause):
            try:
                await self._renew(self._ttl / 3)
                self.failure = None
                pause = self._ttl / 3
            except (AlreadyExists, PermissionDenied) as error:
                self.failure, self._is_over = error, True
                return
            except MeasurandError as error:
                self.failure = error
                pause = min(self._ttl / 3, max(SHORTEST_PAUSE, self._ttl / 30))

    async def _renew(self, patience: float) -> None:
        async with self._turn:
            try:
                answer = await self._calls.unary(methods.RENEW_REGISTRATION, self._renewal(), patience=patience)
                self._registration = Registration.of(answer)
            except LeaseLost:
                await self._register(take_over=False, patience=patience)

    async def _register(self, *, take_over: bool, patience: float | None = None) -> None:
        request = registry_pb2.RegisterRequest(
            registration=self._draft, take_over=take_over, document_form=JSON, request_id=names.request_id()
        )
        answer = await self._calls.unary(methods.REGISTER, request, patience=patience)
        self._lease_id = answer.lease_id
        self._registration = Registration.of(answer.registration)

    def _renewal(self) -> registry_pb2.RenewRegistrationRequest:
        return registry_pb2.RenewRegistrationRequest(name=self._draft.name, lease_id=self._lease_id, document_form=JSON)
