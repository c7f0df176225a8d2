"""The blobs of a deployment for commands that only read them: through its containers, if it has any."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from measurand.core.containers.documents import CONTAINERS, HOME, full_name
from measurand.core.containers.placements import PLACEMENTS, Placements
from measurand.core.containers.sites import Sites
from measurand.core.means import Means, Threads
from measurand.core.ports import DocumentStore
from measurand.server.config import Place
from measurand.server.container_places import ContainerPlaces
from measurand.server.stores import RawBlobs
from measurand.storage.blobs.spread import Spread, make_coder

__all__ = ["home_of", "open_sites", "spread_over"]


async def home_of(documents: DocumentStore, place: Place) -> Place:
    """Return where blobs lie that no policy sends elsewhere: in the place that was named, or in containers as well."""
    has_home = await documents.fetch(CONTAINERS, full_name(HOME)) is not None
    return place if has_home or not await documents.count(CONTAINERS, most=1) else Place("containers")


async def open_sites(
    documents: DocumentStore,
    home: RawBlobs | None,
    deployment_id: str,
    means: Means,
    in_thread: Threads,
    opening: AsyncExitStack,
) -> Sites | None:
    """Open the containers until `opening` ends. None: there is nothing but what lies in the home store as it is."""
    places = ContainerPlaces(deployment_id, means, in_thread)
    sites = Sites(documents, means, places.open, home=None if home is None else home.place)
    await sites.refresh()
    if sites.is_empty and not await documents.count(PLACEMENTS, most=1):
        return None
    opening.push_async_callback(sites.close)
    following = asyncio.create_task(sites.run(), name="follow containers")

    async def stop() -> None:
        following.cancel()
        await asyncio.wait((following,))

    opening.push_async_callback(stop)
    return sites


def spread_over(documents: DocumentStore, home: RawBlobs | None, sites: Sites, means: Means) -> Spread:
    """Return all blobs, wherever they lie."""
    return Spread(None if home is None else home.store, sites, Placements(documents), make_coder(), means)
