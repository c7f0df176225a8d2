"""Opens containers: a folder, a bucket, or another process; each belongs to one deployment and is one container."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from measurand.core.containers.documents import Container
from measurand.core.containers.sites import Place as OpenPlace
from measurand.core.containers.sites import Room
from measurand.core.means import Means, Threads
from measurand.core.ports import Blob, BlobStore, Buffer
from measurand.core.ulid import make_ulid
from measurand.server.config import ConfigError, Place
from measurand.server.folder import write_whole
from measurand.server.stores import BLOBS, extra
from measurand.services.containers import Tried
from measurand.storage.blobs.remote import Remote
from measurand.wire.errors import FailedPrecondition, InvalidArgument, MeasurandError, NotFound, Unavailable

__all__ = ["ContainerPlaces"]

MARK = "container"
"""The file in a folder that says which container it is."""

PROBE_BYTES = 64 * 1024


class ContainerPlaces:
    """Opens and tries out the places of containers.

    Parameters
    ----------
    deployment_id : str
        Whose blobs they hold.
    in_thread : callable
        For work on disks.
    takes_memory : bool
        The documents are in this process's memory, so that what is in its memory is no less safe.
    """

    def __init__(self, deployment_id: str, means: Means, in_thread: Threads, *, takes_memory: bool = False) -> None:
        self._takes_memory = takes_memory
        self._deployment_id = deployment_id
        self._means = means
        self._in_thread = in_thread

    async def open(self, container: Container) -> OpenPlace:
        """Open the store of a container that was taken for this deployment before.

        Raises
        ------
        Unavailable
            STORE_UNAVAILABLE: it cannot be reached, or is not mounted.
        FailedPrecondition
            STATE_WRONG: what is there is another container, or belongs to another deployment.
        """
        if container.kind == "directory":
            await self._in_thread(_check_folder, _folder(container), container)
        opened = await self._open(container)
        if container.kind == "directory":
            with suppress(NotFound):
                # It makes its folders now: not later, in the empty one that a disk leaves behind.
                await opened.store.stat("nothing")
        return opened

    async def take(self, container: Container, others: Collection[str]) -> Room:
        """Try a place out with a small blob, take it for this deployment, and return its room. Raises as `open`.

        Parameters
        ----------
        others : collection of str
            The uids of the other containers there are: their folders are not taken.
        """
        if container.kind == "memory" and not self._takes_memory:
            raise InvalidArgument(
                f"container.uri: {container.uri} ends with its process, and these documents do not; name a folder, "
                f"a bucket or another process",
                field="container.uri",
            )
        if container.kind == "directory":
            await self._in_thread(_prepare_folder, _folder(container), container, others)
        opened = await self._open(container)
        try:
            await self._try(container, opened.store)
            room = Room() if opened.look is None else await opened.look()
        except (MeasurandError, OSError) as error:
            raise Unavailable(
                f"{container.uri}: a small blob could not be written and read back: {error}", store=container.uri
            ) from error
        finally:
            await opened.store.close()
        if container.kind == "directory":
            await self._in_thread(write_whole, _folder(container) / MARK, f"{container.uid}\n")
        return room

    async def check(self, container: Container, store: BlobStore) -> list[Tried]:
        """Try every verb on a container with a small blob, and tell how long each took."""
        key = f"probes/{make_ulid(self._means.now(), self._means.random_bytes).lower()}"
        staged, data = f"{key}-staged", self._means.random_bytes(PROBE_BYTES)
        whole, part = Blob(key, len(data)), slice(1000, 3000)

        async def put() -> bool:
            return (await store.put(key, [data])).size == len(data)

        async def get() -> bool:
            return b"".join([bytes(chunk) async for chunk in store.open(whole)]) == data

        async def get_range() -> bool:
            chunks = store.open(whole, part.start, part.stop - part.start)
            return b"".join([bytes(chunk) async for chunk in chunks]) == data[part]

        async def scan() -> bool:
            return key in [blob.key async for blob in store.scan(key)]

        async def write_staged() -> bool:
            stage = await store.stage(staged)
            try:
                await stage.append([data])
                await stage.persist()
            finally:
                await stage.close()
            return (await store.finish(staged, len(data))).size == len(data)

        async def delete() -> bool:
            for one in (key, staged):
                await store.delete(one)
            return True

        verbs = {"put": put, "get": get, "get_range": get_range, "list": scan, "staged_write": write_staged}
        tried = [await self._timed(name, verb) for name, verb in verbs.items()]
        return [*tried, await self._timed("delete", delete)]

    async def _timed(self, name: str, verb: Callable[[], Awaitable[bool]]) -> Tried:
        started, message = self._means.monotonic(), ""
        try:
            is_ok = await verb()
            message = "" if is_ok else "it gives something else than it took"
        except (MeasurandError, OSError) as error:
            is_ok, message = False, str(error)
        return Tried(name, is_ok, self._means.monotonic() - started, message)

    async def _open(self, container: Container) -> OpenPlace:
        if container.kind == "remote":  # nothing is connected before the first call, and it tells of itself
            target, crc32c = urlsplit(container.uri).netloc, self._means.crc32c
            return OpenPlace(
                Remote(target, deployment_id=self._deployment_id, container_uid=container.uid, crc32c=crc32c)
            )
        place = _place_of(container)
        try:
            with extra(place):
                raw = await BLOBS[place.kind](place, self._deployment_id, self._in_thread)
        except ConfigError as error:
            raise FailedPrecondition(str(error), resource=f"containers/{container.id}", state="down") from error
        except OSError as error:
            raise Unavailable(f"{container.uri}: {error}", store=container.uri) from error
        return raw.place

    async def _try(self, container: Container, store: BlobStore) -> None:
        key = f"probes/{make_ulid(self._means.now(), self._means.random_bytes).lower()}"
        data = self._means.random_bytes(PROBE_BYTES)
        blob = await store.put(key, _one(data))
        try:
            read = b"".join([bytes(chunk) async for chunk in store.open(blob)])
        finally:
            await store.delete(key)
        if read != data:
            raise Unavailable(f"{container.uri} gives other bytes than it took", store=container.uri)


def _one(data: Buffer) -> Iterable[Buffer]:
    return [data]


def _folder(container: Container) -> Path:
    return Path(unquote(urlsplit(container.uri).path))


def _place_of(container: Container) -> Place:
    if container.kind == "directory":
        return Place("file", _folder(container))
    return Place(container.kind, url=container.uri) if container.kind != "memory" else Place("memory")


def _check_folder(folder: Path, container: Container) -> None:
    try:
        uid = (folder / MARK).read_text().strip()
    except OSError as error:
        raise Unavailable(
            f"{folder}: the mark of the container cannot be read; is it mounted? ({error})", store=container.uri
        ) from error
    _check_uid(folder, uid, container)


def _prepare_folder(folder: Path, container: Container, others: Collection[str]) -> None:
    """Take a folder that is new or empty, or is this container or one that was removed."""
    try:
        folder.parent.stat()  # nobody means a folder whose parent is not there: it is a slip, or is not mounted
        folder.mkdir(mode=0o700, exist_ok=True)
        if (folder / MARK).exists():
            uid = (folder / MARK).read_text().strip()
            if uid in others:
                _check_uid(folder, uid, container)
        elif any(folder.iterdir()) and not (folder / "deployment").exists():
            raise FailedPrecondition(
                f"{folder} holds other files; name an empty folder", resource=f"containers/{container.id}", state="full"
            )
    except OSError as error:
        raise Unavailable(f"{folder}: {error}", store=container.uri) from error


def _check_uid(folder: Path, uid: str, container: Container) -> None:
    if uid != container.uid:
        raise FailedPrecondition(
            f"{folder} is another container (registration {uid}); name another folder, or rejoin under its own name",
            resource=f"containers/{container.id}",
            state="taken",
        )
