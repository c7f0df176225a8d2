"""The registry service: unpack, call core, pack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.registry.finding import Finding
from measurand.core.registry.leasing import Leasing
from measurand.core.registry.names import parse_kind, parse_registration
from measurand.core.registry.watching import RegistrationWatch
from measurand.services.messages import span_of
from measurand.services.principal import current
from measurand.services.registry_messages import Packing, draft_of, source_of
from measurand.v1 import common_pb2, registry_pb2, registry_pb2_grpc

__all__ = ["RegistryRooms", "RegistryService"]


@dataclass(frozen=True, slots=True)
class RegistryRooms:
    """The rules that the service calls."""

    leasing: Leasing
    finding: Finding
    watch: RegistrationWatch


class RegistryService(registry_pb2_grpc.RegistryServiceServicer):
    """Answers for registrations."""

    def __init__(self, rooms: RegistryRooms, means: Means, limits: Limits) -> None:
        self._rooms = rooms
        self._means = means
        self._limits = limits

    async def Register(
        self,
        request: registry_pb2.RegisterRequest,
        context: grpc.aio.ServicerContext[registry_pb2.RegisterRequest, registry_pb2.RegisterResponse],
    ) -> registry_pb2.RegisterResponse:
        leased = await self._rooms.leasing.register(
            current(),
            parse_registration(request.registration.name, field="registration.name"),
            draft_of(request.registration),
            lease_id=request.lease_id,
            take_over=request.take_over,
            request_id=request.request_id,
        )
        packing = self._packing(request.document_form)
        return registry_pb2.RegisterResponse(
            registration=packing.one(leased.registration, self._means.now()), lease_id=leased.lease_id
        )

    async def RenewRegistration(
        self,
        request: registry_pb2.RenewRegistrationRequest,
        context: grpc.aio.ServicerContext[registry_pb2.RenewRegistrationRequest, registry_pb2.Registration],
    ) -> registry_pb2.Registration:
        registration = await self._rooms.leasing.renew(
            current(),
            parse_registration(request.name),
            request.lease_id,
            metadata=source_of(request.metadata) if request.HasField("metadata") else None,
            endpoint=request.endpoint,
        )
        return self._packing(request.document_form).one(registration, self._means.now())

    async def ReleaseRegistration(
        self,
        request: registry_pb2.ReleaseRegistrationRequest,
        context: grpc.aio.ServicerContext[registry_pb2.ReleaseRegistrationRequest, Empty],
    ) -> Empty:
        await self._rooms.leasing.release(current(), parse_registration(request.name), request.lease_id)
        return Empty()

    async def GetRegistration(
        self,
        request: registry_pb2.GetRegistrationRequest,
        context: grpc.aio.ServicerContext[registry_pb2.GetRegistrationRequest, registry_pb2.Registration],
    ) -> registry_pb2.Registration:
        registration = await self._rooms.finding.get(current(), parse_registration(request.name))
        return self._packing(request.document_form).one(registration, self._means.now())

    async def BatchGetRegistrations(
        self,
        request: registry_pb2.BatchGetRegistrationsRequest,
        context: grpc.aio.ServicerContext[
            registry_pb2.BatchGetRegistrationsRequest, registry_pb2.BatchGetRegistrationsResponse
        ],
    ) -> registry_pb2.BatchGetRegistrationsResponse:
        batch = await self._rooms.finding.get_many(
            current(), parse_kind(request.parent), request.names, self._packing(request.document_form).registration
        )
        return registry_pb2.BatchGetRegistrationsResponse(
            registrations=batch.items, missing=batch.missing, left_over=batch.left_over
        )

    async def ListRegistrations(
        self,
        request: registry_pb2.ListRegistrationsRequest,
        context: grpc.aio.ServicerContext[
            registry_pb2.ListRegistrationsRequest, registry_pb2.ListRegistrationsResponse
        ],
    ) -> registry_pb2.ListRegistrationsResponse:
        page = await self._rooms.finding.find(
            current(),
            parse_kind(request.parent),
            self._packing(request.document_form).registration,
            size=request.page_size,
            page_token=request.page_token,
            filter_text=request.filter,
        )
        return registry_pb2.ListRegistrationsResponse(registrations=page.items, next_page_token=page.next_page_token)

    async def WatchRegistrations(
        self,
        request: registry_pb2.WatchRegistrationsRequest,
        context: grpc.aio.ServicerContext[registry_pb2.WatchRegistrationsRequest, registry_pb2.RegistrationChange],
    ) -> AsyncIterator[registry_pb2.RegistrationChange]:
        packing = self._packing(request.document_form)
        changes = self._rooms.watch.follow(
            current(),
            parse_kind(request.parent),
            resume_token=request.resume_token,
            include_existing=request.include_existing,
        )
        async with aclosing(changes):
            async for change in changes:
                message, _ = packing.change(change)
                yield message

    async def PollRegistrations(
        self,
        request: registry_pb2.PollRegistrationsRequest,
        context: grpc.aio.ServicerContext[
            registry_pb2.PollRegistrationsRequest, registry_pb2.PollRegistrationsResponse
        ],
    ) -> registry_pb2.PollRegistrationsResponse:
        polled = await self._rooms.watch.poll(
            current(),
            parse_kind(request.parent),
            self._packing(request.document_form).change,
            resume_token=request.resume_token,
            most=request.max_changes,
            wait=span_of(request, "wait", "wait") or timedelta(),
        )
        return registry_pb2.PollRegistrationsResponse(changes=polled.changes, resume_token=polled.token)

    def _packing(self, form: common_pb2.DocumentForm.ValueType) -> Packing:
        return Packing(form, most_bytes=self._limits.max_message_bytes)
