"""Small files: those of one dataset that wait at the same time share one blob and one write of documents.

A durable file costs an fsync or two. While one group is on its way to the disk the next one gathers, so the cost is
shared by as many files as there are callers, and a single caller waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from measurand.core.digesting import check_digests, digest_small
from measurand.core.extents import Extent
from measurand.core.file_documents import Digests, File, FileSpec, check_spec
from measurand.core.files import DatasetGate, Draft, Files
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import DatasetName, FileName
from measurand.core.policies import Policies
from measurand.core.ports import Blob, BlobStore, Buffer
from measurand.core.principal import Principal
from measurand.core.ulid import make_ulid
from measurand.wire.errors import TooLarge

__all__ = ["SmallFile", "SmallFiles"]

_GROUP_BYTES = 4 * 1024 * 1024
_GROUP_FILES = 1000
_GROUPS_AT_ONCE = 2
"""While one group waits for the disk, the next is made ready."""
_REPLACED_AT_ONCE = 64
"""Files that take the place of others need several writes each; stores share them among those that wait."""


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file with all its bytes in hand.

    Parameters
    ----------
    promised : Digests
        Checked before anything is stored, where given.
    request : str
        See `measurand.core.files.Draft`.
    """

    spec: FileSpec
    data: Buffer
    promised: Digests
    request: str = ""


@dataclass(slots=True)
class _Waiting:
    principal: Principal
    file: SmallFile
    digests: Digests
    answer: asyncio.Future[File]


@dataclass(slots=True)
class _Lane:
    """The small files of one dataset: those that wait, and the names of those on their way to the disk."""

    waiting: list[_Waiting] = field(default_factory=list)
    busy: set[FileName] = field(default_factory=set)
    groups: set[asyncio.Task[None]] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class SmallFiles:
    """Stores files that came in one piece."""

    def __init__(
        self,
        blobs: BlobStore,
        datasets: DatasetGate,
        files: Files,
        policies: Policies,
        means: Means,
        limits: Limits,
    ) -> None:
        self._blobs = blobs
        self._datasets = datasets
        self._files = files
        self._policies = policies
        self._means = means
        self._limits = limits
        self._lanes: dict[DatasetName, _Lane] = {}
        self._replacing = asyncio.Semaphore(_REPLACED_AT_ONCE)

    async def put(self, principal: Principal, file: SmallFile) -> File:
        """Store one file. Durable and visible when it returns.

        Raises
        ------
        TooLarge
            TOO_LARGE: more than `max_put_file_bytes`; use an upload.
        DigestMismatch
            DIGEST_MISMATCH: the bytes are not those that were promised; nothing was stored.
        GenerationMismatch, NotFound
            As `Files.publish`.
        """
        return await self.begin(principal, file)

    def begin(self, principal: Principal, file: SmallFile) -> asyncio.Future[File]:
        """Check a file and hand it to the group that is gathering; the future has what `put` returns."""
        size = len(file.data)
        if size > self._limits.max_put_file_bytes:
            raise TooLarge(
                f"{file.spec.name}: {size} bytes; a file put in one piece has at most "
                f"{self._limits.max_put_file_bytes}; upload it",
                limit=self._limits.max_put_file_bytes,
                actual=size,
            )
        check_spec(file.spec)
        digests = digest_small(self._means, file.data)
        check_digests(file.spec.name, file.promised, digests)
        answer: asyncio.Future[File] = asyncio.get_running_loop().create_future()
        lane = self._lanes.setdefault(file.spec.name.parent, _Lane())
        lane.waiting.append(_Waiting(principal, file, digests, answer))
        if lane.task is None:
            lane.task = asyncio.create_task(self._drain(file.spec.name.parent, lane))
        return answer

    async def _drain(self, dataset: DatasetName, lane: _Lane) -> None:
        """Store group after group until nobody waits."""
        await asyncio.sleep(0)  # whoever is ready in this turn of the loop joins the first group
        while lane.waiting or lane.groups:
            group: list[_Waiting] = []
            if len(lane.groups) < _GROUPS_AT_ONCE:
                group, lane.waiting = _first_group(lane.waiting, lane.busy)
            if group:
                task = asyncio.create_task(self._store_group(dataset, lane, group))
                lane.groups.add(task)
                task.add_done_callback(lane.groups.discard)
                await asyncio.sleep(0)
            else:
                await asyncio.wait(lane.groups, return_when=asyncio.FIRST_COMPLETED)
        del self._lanes[dataset]

    async def _store_group(self, dataset: DatasetName, lane: _Lane, group: Sequence[_Waiting]) -> None:
        names = {item.file.spec.name for item in group}
        lane.busy |= names
        try:
            await self._store(dataset, group)
        except Exception as error:
            for item in group:
                _fail(item, error)
        finally:
            lane.busy -= names

    async def _store(self, dataset: DatasetName, group: Sequence[_Waiting]) -> None:
        await self._datasets.require_open(group[0].principal, dataset)
        current = await self._files.fetch_many([item.file.spec.name for item in group])
        fresh: list[_Waiting] = []
        for item in group:
            draft = _draft(item, ())
            try:
                made = await self._files.already_made(draft, current.get(str(draft.spec.name)))
            except Exception as error:
                _fail(item, error)
            else:
                if made is None:
                    fresh.append(item)
                else:
                    _answer(item, made)
        if not fresh:
            return
        drafts = await self._write(fresh)
        files = [
            self._files.next_generation(item.principal, draft, None) for item, draft in zip(fresh, drafts, strict=True)
        ]
        new = [index for index, file in enumerate(files) if str(file.name) not in current]
        stored = await self._files.store_new([files[index] for index in new])
        done = {index for index, was_stored in zip(new, stored, strict=True) if was_stored}
        if done:
            await self._files.take_back_if_refused([files[index] for index in done])
        for index in done:
            _answer(fresh[index], files[index])
        await asyncio.gather(
            *(self._replace(item, drafts[index]) for index, item in enumerate(fresh) if index not in done)
        )

    async def _replace(self, item: _Waiting, draft: Draft) -> None:
        """Make one file visible in the place of the generation before."""
        async with self._replacing:
            try:
                _answer(item, await self._files.publish(item.principal, draft))
            except Exception as error:
                _fail(item, error)

    async def _write(self, group: Sequence[_Waiting]) -> list[Draft]:
        """Put the bytes of all files into one blob; an empty file has no bytes and needs none."""
        key = f"files/{make_ulid(self._means.now(), self._means.random_bytes).lower()}"
        extents: list[tuple[Extent, ...]] = []
        offset = 0
        for item in group:
            size = len(item.file.data)
            # No checks: the crc32c of the file itself proves its bytes.
            extents.append((Extent(Blob(key, offset + size), offset, size),) if size else ())
            offset += size
        if offset:
            began = self._means.now()
            spec = group[0].file.spec
            policy = spec.storage_policy or await self._policies.of(spec.name.parent)
            await self._blobs.put(key, [item.file.data for item in group if len(item.file.data)], policy=policy)
            if self._means.now() - began > self._limits.blob_grace / 2:
                # The machine slept: the collector may have taken the blob for garbage. Write it again, under a new key.
                return await self._write(group)
        return [_draft(item, pieces) for item, pieces in zip(group, extents, strict=True)]


def _first_group(waiting: list[_Waiting], busy: set[FileName]) -> tuple[list[_Waiting], list[_Waiting]]:
    """Split off as many as fit into one blob and are to be kept alike; of several for one name one at a time, so that
    they keep their order.
    """
    size = 0
    names = set(busy)
    later: list[_Waiting] = []
    group: list[_Waiting] = []
    for index, item in enumerate(waiting):
        if group and (size + len(item.file.data) > _GROUP_BYTES or len(group) == _GROUP_FILES):
            return group, later + waiting[index:]
        if item.file.spec.name in names or item.file.spec.storage_policy != waiting[0].file.spec.storage_policy:
            later.append(item)
            continue
        names.add(item.file.spec.name)
        size += len(item.file.data)
        group.append(item)
    return group, later


def _draft(item: _Waiting, extents: tuple[Extent, ...]) -> Draft:
    return Draft(item.file.spec, len(item.file.data), item.digests, extents, item.file.request)


def _answer(item: _Waiting, file: File) -> None:
    if not item.answer.done():  # a caller that has gone has cancelled it
        item.answer.set_result(file)


def _fail(item: _Waiting, error: Exception) -> None:
    if not item.answer.done():
        item.answer.set_exception(error)
