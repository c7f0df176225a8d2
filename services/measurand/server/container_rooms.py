"""What of a server has to do with containers, put together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from measurand.core.containers.containers import Containers
from measurand.core.containers.documents import Container
from measurand.core.containers.explaining import Explaining
from measurand.core.containers.healing.automatic import Told
from measurand.core.containers.healing.wanted import Wanted
from measurand.core.containers.placements import Placements
from measurand.core.containers.shortage import shortage
from measurand.core.containers.sites import Sites
from measurand.core.containers.upkeep import Upkeep
from measurand.core.files import Files
from measurand.core.limits import Limits
from measurand.core.means import Means, Threads
from measurand.core.operations.operations import Operations
from measurand.core.placement.policies import Policy
from measurand.core.policies import Policies
from measurand.core.ports import DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.server.background import Job
from measurand.server.container_figures import ContainerFigures
from measurand.server.container_places import ContainerPlaces
from measurand.server.metrics import Series
from measurand.server.patterns import compile_pattern
from measurand.server.stores import RawBlobs
from measurand.services.containers import ContainerRooms, Tried
from measurand.storage.blobs.spread import Spread, make_coder

__all__ = ["ContainerParts", "make_container_parts"]


@dataclass(frozen=True, slots=True)
class ContainerParts:
    """The rules of containers, this process's view of them, and what goes on beside."""

    containers: Containers
    sites: Sites
    placements: Placements
    places: ContainerPlaces
    jobs: Sequence[Job]
    spread: Spread
    """The blob store over the containers, and over the server's own for what has no policy."""
    wanted: Wanted
    told: Told
    figures: Sequence[Series]
    _means: Means
    _usual: Policy
    _has_home: bool

    async def are_spread(self, blobs: Collection[str]) -> bool:
        """Tell whether one of these blobs lies in containers."""
        return not self.sites.is_empty and await self.placements.has_any(blobs)

    def shortage(self) -> str:
        """Say which containers are missing of those that blobs without a policy need; empty: none."""
        return "" if self._has_home else shortage(self.sites, self._usual)

    def rooms(self, files: Files, policies: Policies, operations: Operations) -> ContainerRooms:
        """Return what the service of containers calls."""
        usual = None if self._has_home else self._usual
        explaining = Explaining(files, self.placements, policies, self.sites, self._means, usual=usual)

        async def check(container: Container) -> list[Tried]:
            return await self.places.check(container, self.sites.store(container.id))

        return ContainerRooms(self.containers, explaining, operations, check)


async def make_container_parts(
    documents: DocumentStore,
    home: RawBlobs | None,
    usual: Policy,
    means: Means,
    limits: Limits,
    in_thread: Threads,
    *,
    deployment_id: str,
    takes_memory: bool = False,
    local: Sequence[Path] = (),
) -> ContainerParts:
    """Return them, once this process has looked which containers there are.

    Parameters
    ----------
    home : RawBlobs, optional
        The server's own blob store, which is the container `home`. None: it has none.
    usual : Policy
        For blobs without a policy, where there is no home store.
    takes_memory : bool
        The documents are in memory, and containers may be.
    local : sequence of Path
        Folders that are containers of this server itself, under their own names.
    """
    places = ContainerPlaces(deployment_id, means, in_thread, takes_memory=takes_memory)
    sites = Sites(documents, means, places.open, home=None if home is None else home.place)
    containers = Containers(documents, sites, places.take, means, limits, compile_pattern=compile_pattern)
    if home is not None:
        await containers.ensure_home()
    await sites.refresh()
    for folder in local:
        if folder.name not in sites.all:
            await in_thread(folder.parent.mkdir, 0o700, True, True)
            draft = Container(folder.name, "", "directory", folder.as_uri(), means.now())
            await containers.register(LOCAL_USER, draft, rejoin=True)
    upkeep, placements = Upkeep(documents, sites, means), Placements(documents)
    wanted = Wanted(documents, means)
    told = Told(wanted, means)
    own = None if home is None else home.store
    spread = Spread(own, sites, placements, make_coder(), means, usual_policy=usual, tell=told)
    await upkeep.look()
    await sites.refresh()
    return ContainerParts(
        containers,
        sites,
        placements,
        places,
        [
            Job("follow containers", 1.0, sites.run),
            Job("look at containers", 5.0, upkeep.look, shared=True),
            Job("count containers", 2.0, upkeep.count, shared=True),
        ],
        spread,
        wanted,
        told,
        ContainerFigures(sites, means).series(),
        means,
        usual,
        home is not None,
    )
