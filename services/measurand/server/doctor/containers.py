"""The data containers, each looked at, and the blobs through them."""

from __future__ import annotations

from contextlib import AsyncExitStack

from measurand.core.containers.documents import CONTAINERS
from measurand.core.containers.placements import PLACEMENTS, in_container
from measurand.core.containers.sites import Site
from measurand.core.means import Means, Threads
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.config import Place
from measurand.server.container_places import ContainerPlaces
from measurand.server.doctor.findings import Report
from measurand.server.spread_blobs import open_sites, spread_over
from measurand.server.stores import RawBlobs, checked, open_raw_blobs

__all__ = ["look_at_containers"]

_BACK = "bring it back; if it is lost, remove it with --force, and what can be repaired is"
_BROKEN = "see that its disk or its process is sound, then run this again"


async def look_at_containers(
    report: Report,
    documents: DocumentStore,
    home: Place,
    deployment_id: str,
    means: Means,
    in_thread: Threads,
    opening: AsyncExitStack,
) -> BlobStore | None:
    """Try each container, and return the store over all of them until `opening` ends. None: there are none."""
    if not await documents.count(CONTAINERS, most=1):
        return None
    raw: RawBlobs | None = None
    if home.kind != "containers":
        raw = await open_raw_blobs(home, deployment_id, in_thread)
    sites = await open_sites(documents, raw, deployment_id, means, in_thread, opening)
    if sites is None:
        if raw is not None:
            await raw.store.close()
        return None
    places = ContainerPlaces(deployment_id, means, in_thread)
    for name, site in sorted(sites.all.items()):
        if site.container.kind != "home":
            await _look_at(report, documents, name, site, places)
    store = checked(spread_over(documents, raw, sites, means), means)
    opening.push_async_callback(store.close)
    return store


async def _look_at(report: Report, documents: DocumentStore, name: str, site: Site, places: ContainerPlaces) -> None:
    async with report.trying("containers: use", f"to use containers/{name}") as note:
        parts = await documents.count(PLACEMENTS, where=in_container(name))
        held = f"{parts} blobs have parts in it"
        if site.place is None:
            why = "it cannot be opened" if site.problem is None else site.problem.message
            note.fail(f"containers/{name}: {why}; {held}", _BACK)
            return
        failed = [tried for tried in await places.check(site.container, site.place.store) if not tried.is_ok]
        if failed:
            why = ", ".join(f"{tried.check}: {tried.message}" for tried in failed)
            note.fail(f"containers/{name}: {why}; {held}", _BROKEN)
        else:
            note.message = f"containers/{name} takes and gives blobs; {held}"
