"""What a laboratory at work does with the registry."""

from __future__ import annotations

from datetime import timedelta

from tests.core.rooms import Rooms

from measurand.core.metadata import MetadataReader
from measurand.core.principal import LOCAL_USER
from measurand.core.registry.documents import RegistrationDraft
from measurand.core.registry.floor import raise_epoch_floor
from measurand.core.registry.lease_writes import LeaseWrites
from measurand.core.registry.leasing import Leasing
from measurand.core.registry.names import RegistrationName

__all__ = ["fill_registry"]


async def fill_registry(rooms: Rooms) -> None:
    """Register what stays, what is renewed and what has gone; something was forgotten before."""
    reader = MetadataReader(rooms.means, rooms.limits)
    writes = LeaseWrites(rooms.documents, reader, rooms.means)
    leasing = Leasing(rooms.documents, writes, reader, rooms.means, rooms.limits, group_seconds=0.0)
    schema = RegistrationDraft(metadata={"required": ["kelvin", 1.0]}, labels={"for": "measurement"})
    await leasing.register(LOCAL_USER, RegistrationName("schema", "measurement"), schema, request_id="r1")
    site = RegistrationDraft(endpoint="grpc://site:1", metadata={"cores": 8}, ttl=timedelta(seconds=30))
    for name in ("site-a", "site-b"):
        leased = await leasing.register(LOCAL_USER, RegistrationName("gateway", name), site)
        await leasing.renew(LOCAL_USER, leased.registration.name, leased.lease_id, metadata={"cores": 4})
    await leasing.release(LOCAL_USER, RegistrationName("gateway", "site-b"))
    await raise_epoch_floor(rooms.documents, 7)
