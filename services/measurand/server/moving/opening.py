"""The stores of a command that moves data: a source that serves already, a target that does not yet, backups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from measurand.core.deployments import Deployment, begin_deployment, fetch_deployment, open_deployment
from measurand.core.means import Means, Threads
from measurand.core.moving.contents import CONTENTS, NOT_MOVED
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.config import ConfigError, Place
from measurand.server.marks import BACKUPS, read_mark
from measurand.server.means import in_threads, make_means, make_threads
from measurand.server.metrics import Metrics
from measurand.server.spread_blobs import home_of, open_sites, spread_over
from measurand.server.stores import DOCUMENTS, extra, new_deployment_id, open_blobs, open_raw_blobs, wrap_blobs
from measurand.wire.errors import MeasurandError

__all__ = ["Opening", "Stores", "opening"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stores:
    """A document store and the blob store that its documents name."""

    documents: DocumentStore
    blobs: BlobStore
    deployment: Deployment


class Opening:
    """Opens stores; they are closed when the command ends. Made by `opening`.

    Attributes
    ----------
    means : Means
        For the whole command.
    """

    def __init__(self, stack: AsyncExitStack, means: Means, in_thread: Threads) -> None:
        self._stack = stack
        self._in_thread = in_thread
        self.means = means

    async def source(self, documents: Place, blobs: Place) -> Stores:
        """Open a store that is served, or was.

        Raises
        ------
        ConfigError
            There is none, or it is of another format, or not all there.
        """
        _refuse_memory(documents, blobs)
        if documents.path is not None and not documents.path.exists():
            raise ConfigError(f"{documents}: there is no such store; name one that was served")
        store = await self.documents(documents)
        deployment = await _asked(documents, fetch_deployment(store))
        if deployment is None:
            raise ConfigError(f"{documents}: nobody has used this store yet; name one that was served")
        deployment = await _asked(documents, open_deployment(store, new_deployment_id))
        return Stores(store, await self._all_blobs(store, blobs, deployment.id), deployment)

    async def target(self, documents: Place, blobs: Place, unfinished: str) -> Stores:
        """Open an empty store, or one in which just this was begun before, to put something in.

        Raises
        ------
        ConfigError
            It holds something else.
        """
        _refuse_memory(documents, blobs)
        if blobs.kind == "containers":
            raise ConfigError(
                "--blobs containers: an empty store has none yet; name a folder or a bucket, serve it, add containers, "
                "and move its blobs there with `measurand container recode`"
            )
        store = await self.documents(documents)
        is_new = await _asked(documents, fetch_deployment(store)) is None
        if is_new:
            for collection in (*(content.name for content in CONTENTS), *NOT_MOVED):
                if await store.count(collection, most=1):
                    raise ConfigError(f"{documents}: there are {collection} in it; name an empty store")
        deployment = await _asked(documents, begin_deployment(store, new_deployment_id, unfinished))
        opened = await self._blobs(blobs, deployment.id)
        if is_new:
            async for blob in opened.scan():
                raise ConfigError(f"{blobs}: there are blobs in it, such as {blob.key}; name an empty store")
        return Stores(store, opened, deployment)

    async def backups(self, place: Place, *, may_be_new: bool) -> BlobStore:
        """Open a place for backups. Raises ConfigError."""
        if not may_be_new and await _asked(place, read_mark(place)) is None:
            raise ConfigError(f"{place}: there are no backups here")
        return await self._blobs(place, BACKUPS)

    async def documents(self, place: Place) -> DocumentStore:
        """Open a document store as it is, whatever it holds. Raises ConfigError."""
        with extra(place):
            store, _ = await _asked(place, DOCUMENTS[place.kind](place))
        self._stack.push_async_callback(store.close)
        return store

    async def _all_blobs(self, documents: DocumentStore, named: Place, owner: str) -> BlobStore:
        """Open the blobs of a deployment, those in its containers too."""
        place = await home_of(documents, named)
        raw = None if place.kind == "containers" else await open_raw_blobs(place, owner, self._in_thread)
        sites = await open_sites(documents, raw, owner, self.means, self._in_thread, self._stack)
        if raw is None and sites is None:
            raise ConfigError(f"{named}: there are no containers; name the place where the blobs are")
        spread = None if sites is None else spread_over(documents, raw, sites, self.means)
        opened = wrap_blobs(raw, place, self.means, self._in_thread, Metrics(), spread=spread)
        self._stack.push_async_callback(opened.store.close)
        return opened.store

    async def _blobs(self, place: Place, owner: str) -> BlobStore:
        opened = await open_blobs(place, owner, self.means, self._in_thread, Metrics())
        self._stack.push_async_callback(opened.store.close)
        return opened.store


@asynccontextmanager
async def opening() -> AsyncIterator[Opening]:
    """What a command opens stores with; at the end they are closed."""
    async with AsyncExitStack() as stack:
        hashing, storing = make_threads("hash"), make_threads("store", 4)
        for threads in (hashing, storing):
            stack.push_async_callback(asyncio.to_thread, threads.shutdown)
        yield Opening(stack, make_means(hashing), in_threads(storing))


def _refuse_memory(documents: Place, blobs: Place) -> None:
    for option, place in (("documents", documents), ("blobs", blobs)):
        if place.kind == "memory":
            raise ConfigError(f"--{option} memory: ends with its process; name a store that keeps what it is given")


async def _asked(place: Place, asking: Awaitable[Result]) -> Result:
    """Name the place in whatever it refuses."""
    try:
        return await asking
    except (MeasurandError, OSError) as error:
        raise ConfigError(f"{place}: {error}") from error
