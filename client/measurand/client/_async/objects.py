"""The objects view of a dataset: bytes under keys, for programs that want no more than that."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Literal, Self, TypeVar, cast, overload

from measurand.client import display, methods, names
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.dataset_files import AsyncDatasetFiles
from measurand.client._async.listing import list_files
from measurand.client._async.put_streams import put_batches
from measurand.client._async.read_streams import NAMES_A_STREAM, STREAMED, read_streams
from measurand.client._async.uploads import SMALL, file_spec, put_small, send_source
from measurand.client._transport import aio
from measurand.client._transport.awaited_items import ObjectItems
from measurand.client.file_frames import Gathered, Large, Outcome
from measurand.client.object_items import Item, bytes_of, items_of, object_name, small_batches
from measurand.client.progress import Meter
from measurand.client.results import File
from measurand.client.sources import MemorySource
from measurand.client.storage import Storage, storage_message
from measurand.v1 import common_pb2, datasets_pb2, files_pb2
from measurand.wire.errors import AlreadyExists, InvalidArgument, MeasurandError, NotFound, ResourceDeleted

__all__ = ["AsyncObjects"]

D = TypeVar("D")
R = TypeVar("R")
Keys = list[str | MeasurandError]
Contents = list[bytes | MeasurandError | None]

DEFAULT = "objects"
KIND = "objects"
PARALLEL = 4


class _Missing(Enum):
    """Stands for a default that was not given."""

    RAISES = "no default"


class AsyncObjects(ObjectItems):
    """Bytes under keys: the files of one dataset, put and got in one call.

    Made by `objects` of a catalog. The dataset is made with the first object that is put into it. A key is the path
    of a file: 1 to 1024 bytes of UTF-8 in segments of 1 to 255 bytes between `/`, none of them `.` or `..`, without
    control characters. Each put makes a new generation; whoever reads the old one reads on undisturbed.

    Parameters
    ----------
    catalog : str
        The resource name of the catalog, `catalogs/{catalog}`.
    dataset : str
        The id of the dataset.
    storage : str or Storage, optional
        Where the bytes of what is put are kept and how often. Unless given: as the dataset or its catalog says.
    """

    def __init__(
        self, calls: AsyncCalls, catalog: str, dataset: str = DEFAULT, storage: str | Storage | None = None
    ) -> None:
        self._calls = calls
        self._catalog = catalog
        self._storage = storage
        self._files = AsyncDatasetFiles(calls, f"{catalog}/datasets/{dataset}")

    def __call__(self, dataset: str = DEFAULT, *, storage: str | Storage | None = None) -> AsyncObjects:
        """Return the objects of another dataset of the same catalog; nothing is asked or made before it is used.

        Parameters
        ----------
        storage : str or Storage, optional
            Where the bytes of what is put are kept and how often, such as `erasure:4+2`; where there is no such
            dataset yet, it is made with it.
        """
        return AsyncObjects(self._calls, self._catalog, dataset, storage)

    @property
    def name(self) -> str:
        """The resource name of the dataset, `catalogs/{catalog}/datasets/{dataset}`."""
        return self._files.name

    async def put(
        self,
        data: Any,
        key: str | None = None,
        *,
        if_absent: bool = False,
        expected_generation: int | None = None,
        storage: str | Storage | None = None,
        content_type: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """Store an object, and return its key; it is whole, durable and visible to all when this returns.

        Parameters
        ----------
        data : bytes-like
            Bytes, or anything with a buffer such as an array, whose elements are stored in C order. Nobody may
            change it before this returns.
        key : str, optional
            Where to put it; one is made unless given.
        if_absent : bool
            Only if there is no such object.
        expected_generation : int, optional
            Only if the newest generation is this one.
        storage : str or Storage, optional
            Where its bytes are kept and how often. Unless given: see `objects` of the catalog.
        content_type : str
            A media type; guessed from the key unless given.
        attributes : mapping, optional
            What to keep with it.

        Raises
        ------
        NameInvalid
            NAME_INVALID: the key is none. Nothing was sent.
        GenerationMismatch
            GENERATION_MISMATCH: see `if_absent` and `expected_generation`.
        Sealed
            DATASET_SEALED: the dataset takes no more objects.
        """
        if if_absent and expected_generation is not None:
            raise InvalidArgument("give if_absent or expected_generation, not both", field="expected_generation")
        key = self._calls.ulids.make() if key is None else key
        item = self._item(
            key,
            data,
            0 if if_absent else expected_generation,
            storage,
            content_type=content_type,
            attributes=attributes,
        )
        try:
            await self._put(item)
        except NotFound as error:
            if not _is_unmade(error):
                raise
        else:
            return key
        await self._make()
        await self._put(item)
        return key

    @overload
    async def get(self, key: str) -> bytes: ...

    @overload
    async def get(self, key: str, default: D) -> bytes | D: ...

    async def get(self, key: str, default: D | Literal[_Missing.RAISES] = _Missing.RAISES) -> bytes | D:
        """Return the bytes of an object, proven by their checksums, or the default where there is none.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is none, and no default was given.
        """
        object_name(self.name, key)
        try:
            return await self._files.read_bytes(key)
        except NotFound:
            if default is _Missing.RAISES:
                raise
            return default

    async def exists(self, key: str) -> bool:
        """Tell whether there is such an object, by one call."""
        try:
            await self.metadata(key)
        except NotFound:
            return False
        return True

    async def evict(self, key: str) -> None:
        """Remove an object, for every reader at once; removing what is gone changes nothing.

        Raises
        ------
        Sealed
            DATASET_SEALED: the dataset changes no more.
        """
        object_name(self.name, key)
        try:
            await self._files.delete_file(key)
        except NotFound as error:
            if not _is_unmade(error):
                raise

    async def metadata(self, key: str) -> File:
        """Return what is known about an object: size, digest, generation, times. NotFound: there is none."""
        object_name(self.name, key)
        return await self._files.stat(key)

    async def put_batch(
        self,
        items: Mapping[str, Any] | Iterable[Any],
        *,
        if_absent: bool = False,
        storage: str | Storage | None = None,
        errors: Literal["raise", "return"] = "raise",
    ) -> Keys:
        """Store many objects by one stream, and return their keys in order; each succeeds or fails by itself.

        What is larger than 1 MiB goes beside the stream.

        Parameters
        ----------
        items : mapping, or iterable of (key, bytes-like) or of bytes-like
            Keys are made for those that have none.
        if_absent : bool
            Only those that are not there.
        storage : str or Storage, optional
            As in `put`.
        errors : str
            "return": the error of one that failed stands in its place. "raise": the first error is raised, after all
            the others have been stored.
        """
        keys: Keys = []
        left: dict[int, Item] = {}
        for index, (key, data) in enumerate(items_of(items, self._calls.ulids)):
            try:
                left[index] = self._item(key, data, 0 if if_absent else None, storage)
                keys.append(key)
            except MeasurandError as error:
                keys.append(error)
        failed = await self._put_all(left)
        again = {index: left[index] for index, why in failed.items() if _is_unmade(why)}
        if again:
            await self._make()
            failed = {index: why for index, why in failed.items() if index not in again}
            failed |= await self._put_all(again)
        for index, why in failed.items():
            keys[index] = why
        return _judged(keys, errors)

    async def get_batch(self, keys: Iterable[str], *, errors: Literal["raise", "return"] = "raise") -> Contents:
        """Return the bytes of many objects, in the order of their keys and by one stream; None for what is not there.

        Parameters
        ----------
        errors : str
            "return": the error of one that cannot be read stands in its place. "raise": the first error is raised,
            after all the others have been read.
        """
        asked = list(keys)
        outcomes: dict[str, Outcome] = {}
        left: dict[str, None] = {}
        for key in asked:
            try:
                left[object_name(self.name, key)] = None
            except MeasurandError as error:
                outcomes[key] = error
        while left:
            part = dict.fromkeys(islice(left, NAMES_A_STREAM))
            for name in part:
                del left[name]
            await self._gather(part, outcomes)
        large = [key for key, outcome in outcomes.items() if isinstance(outcome, Large)]
        found = cast("dict[str, bytes | MeasurandError | None]", outcomes)

        async def fetch(key: str) -> None:
            try:
                found[key] = await self.get(key, None)
            except MeasurandError as error:
                found[key] = error

        await aio.parallel(fetch, large, bound=PARALLEL)
        return _judged([found[key] for key in asked], errors)

    async def list(self, prefix: str = "") -> AsyncGenerator[File, None]:
        """Yield what is known about the objects whose keys begin so, by key, page after page."""
        try:
            async for file in list_files(self._calls, self.name, prefix=prefix):
                yield file
        except NotFound as error:
            if not _is_unmade(error):
                raise

    def __repr__(self) -> str:
        catalog, dataset = self.name.split("/")[1::2]
        return display.line("Objects", f"{catalog}/{dataset}", {"storage": str(self._storage or "")})

    def _item(
        self,
        key: object,
        data: Any,
        if_generation: int | None,
        storage: str | Storage | None,
        *,
        content_type: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> Item:
        spec = file_spec(
            object_name(self.name, key),
            content_type=content_type,
            attributes=attributes,
            if_generation=if_generation,
            storage=self._storage if storage is None else storage,
        )
        return Item(spec, bytes_of(data))

    async def _put(self, item: Item) -> None:
        if len(item.data) <= SMALL:
            await put_small(self._calls, item.spec, item.data)
        else:
            size = len(item.data)
            await send_source(self._calls, item.spec, MemorySource(item.data), Meter(False, item.spec.name, size))

    async def _put_all(self, items: Mapping[int, Item]) -> dict[int, MeasurandError]:
        """Store items, small ones by one stream; returns what is wrong with those that could not be."""
        failed: dict[int, MeasurandError] = {}

        def settle(sent: files_pb2.SmallFile, result: files_pb2.File | MeasurandError) -> None:
            if isinstance(result, MeasurandError):
                failed[sent.index] = result

        async def send(part: Mapping[int, Item]) -> None:
            if len(next(iter(part.values())).data) <= SMALL:
                await put_batches(self._calls, self.name, small_batches(part), settle)
                return
            for index, item in part.items():
                try:
                    await self._put(item)
                except MeasurandError as error:
                    failed[index] = error

        small = {index: item for index, item in items.items() if len(item.data) <= SMALL}
        parts: list[Mapping[int, Item]] = [small] if small else []
        parts += [{index: item} for index, item in items.items() if index not in small]
        await aio.parallel(send, parts, bound=PARALLEL)
        return failed

    async def _gather(self, left: dict[str, None], outcomes: dict[str, Outcome]) -> None:
        """Read what is left by one stream after the other."""
        await read_streams(
            self._calls,
            self.name,
            left,
            lambda: _Memory(Gathered(left, outcomes)),
            max_file_bytes=STREAMED,
        )

    async def _make(self) -> None:
        """Make the dataset, unless somebody else is faster."""
        policy = None if self._storage is None else storage_message(self._storage)
        request = datasets_pb2.CreateDatasetRequest(
            parent=self._catalog,
            dataset=datasets_pb2.Dataset(kind=KIND, storage_policy=policy),
            dataset_id=names.last_part(self.name),
            document_form=common_pb2.DOCUMENT_FORM_JSON,
            request_id=names.request_id(),
        )
        try:
            await self._calls.unary(methods.CREATE_DATASET, request)
        except AlreadyExists:
            return


class _Memory:
    """Keeps what the stream brings."""

    def __init__(self, gathered: Gathered) -> None:
        self._gathered = gathered

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def take(self, frames: Sequence[files_pb2.FileFrame], data: memoryview) -> None:
        self._gathered.take(frames, data)


def _is_unmade(error: MeasurandError) -> bool:
    """Tell whether there is no dataset, rather than one that was deleted and can be brought back."""
    return isinstance(error, NotFound) and not isinstance(error, ResourceDeleted)


def _judged(results: Sequence[R | MeasurandError], errors: Literal["raise", "return"]) -> list[R | MeasurandError]:
    """Return the results of a batch, or raise the first error among them."""
    if errors == "raise":
        for result in results:
            if isinstance(result, MeasurandError):
                raise result
    return list(results)
