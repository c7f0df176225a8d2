"""What of a server has to do with the registry, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.ports import DocumentStore
from measurand.core.registry.ending import Ending
from measurand.core.registry.feed import Feed
from measurand.core.registry.finding import Finding
from measurand.core.registry.lease_writes import LeaseWrites
from measurand.core.registry.leasing import Leasing
from measurand.core.registry.watching import RegistrationWatch
from measurand.server.background import Job
from measurand.server.patterns import compile_pattern
from measurand.services.registry import RegistryRooms, RegistryService

__all__ = ["RegistryParts", "make_registry_parts"]


@dataclass(frozen=True, slots=True)
class RegistryParts:
    """The service, and the work that nobody waits for.

    Parameters
    ----------
    feed : Feed
        To be closed before the stores are.
    """

    service: RegistryService
    feed: Feed
    jobs: Sequence[Job]


def make_registry_parts(documents: DocumentStore, means: Means, limits: Limits) -> RegistryParts:
    """Return the registry over a store."""
    reader = MetadataReader(means, limits)
    writes = LeaseWrites(documents, reader, means)
    leasing = Leasing(documents, writes, reader, means, limits)
    finding = Finding(documents, means, limits, compile_pattern=compile_pattern)
    feed = Feed(documents, means)
    ending = Ending(documents, writes, means)
    rooms = RegistryRooms(leasing, finding, RegistrationWatch(feed, finding, means, limits))
    return RegistryParts(
        service=RegistryService(rooms, means, limits),
        feed=feed,
        jobs=[
            # Every server does it: what is over is told within two seconds, also while nobody has the shared lease.
            Job("end registrations", 1.0, ending.sweep),
            Job("forget registrations", 3600.0, ending.forget, shared=True),
        ],
    )
