"""Files: made visible by one document write, superseded by the next, read by number as long as they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from measurand.core.extents import Extent
from measurand.core.file_documents import (
    FILES,
    SUPERSEDED,
    Digests,
    File,
    FileSpec,
    check_spec,
    file_document,
    file_of,
    superseded_document,
    superseded_key,
)
from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import CatalogName, DatasetName, FileName
from measurand.core.ports import Document, DocumentStore
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.core.view import Scalar
from measurand.wire.errors import Contention, GenerationMismatch, NotFound, RequestIdReused, Sealed

__all__ = ["DatasetGate", "Draft", "Files"]


class DatasetGate(Protocol):
    """What files ask of the datasets they lie in."""

    async def require(self, principal: Principal, name: DatasetName) -> object:
        """Raise NotFound unless the dataset is there."""
        ...

    async def require_open(self, principal: Principal, name: DatasetName) -> object:
        """Raise NotFound or Sealed unless the dataset is there and takes files."""
        ...

    async def require_catalog(self, principal: Principal, name: CatalogName) -> object:
        """Raise NotFound unless the catalog is there."""
        ...

    async def refusal(self, name: DatasetName) -> NotFound | Sealed | None:
        """Return why a change that was just made in the dataset cannot stay: it was purged or sealed meanwhile."""
        ...

    async def undelete_window(self, name: DatasetName) -> timedelta:
        """Return for how long what is deleted or superseded can be brought back."""
        ...

    async def note_change(self, principal: Principal, name: DatasetName, changed_paths: Sequence[str]) -> object:
        """Make a revision that says what changed beside the metadata, or raise Sealed."""
        ...


@dataclass(frozen=True, slots=True)
class Draft:
    """A file whose bytes are durable and which nobody sees yet.

    Parameters
    ----------
    request : str
        What makes it, see `File.request`. A file that the same request has made is returned, not made again.
    """

    spec: FileSpec
    size: int
    digests: Digests
    extents: tuple[Extent, ...]
    request: str = ""


class Files:
    """The files of all datasets."""

    def __init__(self, documents: DocumentStore, datasets: DatasetGate, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._datasets = datasets
        self._means = means
        self._limits = limits

    async def publish(self, principal: Principal, draft: Draft) -> File:
        """Make a file visible. One document write decides; before it nobody sees anything, after it everybody sees all.

        Raises
        ------
        GenerationMismatch
            GENERATION_MISMATCH: the newest generation is not `if_generation`.
        NotFound
            RESOURCE_NOT_FOUND: the dataset was purged meanwhile; the file is taken back.
        Sealed
            DATASET_SEALED: likewise.
        Contention
            CONTENTION: others kept replacing the same file.
        """
        check_spec(draft.spec)
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(FILES, str(draft.spec.name))
            made = await self.already_made(draft, current)
            if made is not None:
                return made
            file = self.next_generation(principal, draft, file_of(current) if current else None)
            if await self._store(file, current):
                await self.take_back_if_refused([file], file_of(current) if current else None)
                return file
        raise Contention(
            f"{draft.spec.name}: others keep replacing it; try again", retry_seconds=0.1, resource=draft.spec.name
        )

    async def already_made(self, draft: Draft, current: Document | None) -> File | None:
        """Return the file that this very request has made before, or raise when the condition of the draft fails."""
        newest = file_of(current) if current else None
        if draft.request:
            made = newest if newest and _same_id(newest.request, draft.request) else None
            if made is None and current is not None:
                made = await self._superseded_by_request(draft)
            if made is not None:
                if made.request != draft.request:
                    raise RequestIdReused(
                        f"{draft.spec.name}: this request_id was used before for another request; make a new one"
                    )
                return made
        self.check_generation(draft.spec, newest)
        return None

    @staticmethod
    def check_generation(spec: FileSpec, newest: File | None) -> None:
        """Raise GenerationMismatch unless the newest generation is the one that the spec asks for, if it does."""
        present = newest.generation if newest else 0
        if spec.if_generation is not None and spec.if_generation != present:
            there = f"the newest generation is {present}" if present else "there is no such file"
            raise GenerationMismatch(
                f"{spec.name}: {there}, not {spec.if_generation}; look at it and decide again",
                resource=spec.name,
                generation=present,
            )

    def next_generation(self, principal: Principal, draft: Draft, newest: File | None) -> File:
        """Return the file that a draft becomes when it takes the place of `newest`."""
        now = self._means.now()
        return File(
            name=draft.spec.name,
            generation=max(microseconds(now), newest.generation + 1 if newest else 1),
            size=draft.size,
            digests=draft.digests,
            content_type=draft.spec.content_type,
            attributes=draft.spec.attributes,
            create_time=now,
            creator=principal.name,
            extents=draft.extents,
            request=draft.request,
        )

    async def get(self, principal: Principal, name: FileName, generation: int = 0) -> File:
        """Return one generation of a file, 0 for the newest. Raises NotFound, of the dataset or of the file."""
        current = await self._documents.fetch(FILES, str(name))
        if current is not None and generation and file_of(current).generation != generation:
            current = None
        if current is None and generation > 0:
            current = await self._documents.fetch(SUPERSEDED, superseded_key(name, generation))
        await self._datasets.require(principal, name.parent)
        if current is None:
            which = f"generation {generation} of {name}" if generation else str(name)
            raise NotFound(f"{which}: there is no such file; list the files of {name.parent}", resource=name)
        return file_of(current)

    async def copy(self, principal: Principal, source: FileName, generation: int, spec: FileSpec, request: str) -> File:
        """Make a file of the bytes of another, which are shared and not moved."""
        original = await self.get(principal, source, generation)
        await self._datasets.require_open(principal, spec.name.parent)
        if not spec.content_type and not spec.attributes:
            spec = replace(spec, content_type=original.content_type, attributes=original.attributes)
        return await self.publish(principal, Draft(spec, original.size, original.digests, original.extents, request))

    async def delete(
        self, principal: Principal, name: FileName, *, generation: int = 0, if_generation: int | None = None
    ) -> None:
        """Remove one generation, or all of them (0). Removing what is gone changes nothing.

        When the newest generation is removed the file is gone; older ones can still be read by number.
        """
        await self._datasets.require_open(principal, name.parent)
        spec = FileSpec(name, if_generation=if_generation)
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(FILES, str(name))
            newest = file_of(current) if current else None
            if newest is not None:  # else it is gone, perhaps by this very call, whose answer was lost
                self.check_generation(spec, newest)
            if current is None or newest is None or generation not in (0, newest.generation):
                break
            if await self._documents.remove(FILES, str(name), expected_revision=current.revision):
                try:
                    await self._datasets.note_change(principal, name.parent, [f"files/{name.path}"])
                except Sealed:
                    await self._documents.insert_many(FILES, [file_document(newest)])
                    raise
                break
        else:
            raise Contention(f"{name}: others keep replacing it; try again", retry_seconds=0.1, resource=name)
        if generation:
            await self._documents.remove(SUPERSEDED, superseded_key(name, generation))
        else:
            await self._remove_superseded(name)

    async def expire_superseded(self) -> int:
        """Remove the superseded generations whose time has come, and return how many."""
        now = Scalar("t", microseconds(self._means.now()))
        removed = 0
        while True:
            found = await self._documents.find(SUPERSEDED, where=Compare("expires", "<=", now), limit=1000)
            for item in found:
                removed += await self._documents.remove(SUPERSEDED, item.document.key)
            if len(found) < 1000:
                return removed

    async def store_new(self, files: Sequence[File]) -> list[bool]:
        """Make many files visible that had no generation before; False where there is one by now."""
        return list(await self._documents.insert_many(FILES, [file_document(file) for file in files]))

    async def fetch_many(self, names: Sequence[FileName]) -> dict[str, Document]:
        """Return the documents of the newest generations, by name."""
        found: dict[str, Document] = {}
        for start in range(0, len(names), 1000):
            keys = [str(name) for name in names[start : start + 1000]]
            found.update(await self._documents.fetch_many(FILES, keys))
        return found

    async def _store(self, file: File, current: Document | None) -> bool:
        """Make the file visible in the place of `current`, which is archived first. False: somebody was faster."""
        document = file_document(file)
        if current is None:
            return (await self._documents.insert_many(FILES, [document]))[0]
        window = await self._datasets.undelete_window(file.name.parent)
        # Archived first: a crash between the two leaves a copy of what is still the newest, which listings drop.
        await self._documents.insert_many(
            SUPERSEDED, [superseded_document(file_of(current), self._means.now(), window)]
        )
        return await self._documents.replace(FILES, document, expected_revision=current.revision) is not None

    async def take_back_if_refused(self, files: Sequence[File], before: File | None = None) -> None:
        """Take files of one dataset back, and raise, if it was purged or sealed while they were made visible.

        Looking after the last write is enough. Whoever finds the dataset open there has written before it was sealed,
        so what it acknowledges is a part of what was sealed. Whoever finds it sealed acknowledges nothing; and if it
        dies before it has taken its file back, that file is whole, and one that its caller wanted there.

        Parameters
        ----------
        before : File, optional
            The generation in whose place the one file was put.
        """
        refusal = await self._datasets.refusal(files[0].name.parent)
        if refusal is None:
            return
        for file in files:
            await self._take_back(file, before if isinstance(refusal, Sealed) else None)
        raise refusal

    async def _take_back(self, file: File, before: File | None) -> None:
        """Put the generation before in the place of a file; of two that are taken back at once none stays."""
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(FILES, str(file.name))
            if current is None:
                return
            if file_of(current).generation != file.generation:
                # Another file is in its place, and may be put back to this one: not if it is no longer kept.
                await self._documents.remove(SUPERSEDED, superseded_key(file.name, file.generation))
                current = await self._documents.fetch(FILES, str(file.name))
                if current is None or file_of(current).generation != file.generation:
                    return
            if before is None:
                if await self._documents.remove(FILES, str(file.name), expected_revision=current.revision):
                    return
                continue
            restored = file_document(before)
            if await self._documents.replace(FILES, restored, expected_revision=current.revision) is not None:
                if await self._documents.remove(SUPERSEDED, superseded_key(before.name, before.generation)):
                    return
                # Whoever made that one has taken it back meanwhile.
                file, before = before, await self._newest_superseded(file.name)

    async def _newest_superseded(self, name: FileName) -> File | None:
        scopes = [str(name.parent)]
        found = await self._documents.find(SUPERSEDED, scopes=scopes, key_prefix=f"{name}\0", limit=1)
        return file_of(found[0].document) if found else None

    async def _superseded_by_request(self, draft: Draft) -> File | None:
        """Look whether the request's file has been superseded since: that is an outcome too."""
        name, wanted = draft.spec.name, Scalar("s", draft.request.partition(" ")[0])
        found = await self._documents.find(
            SUPERSEDED,
            scopes=[str(name.parent)],
            where=Compare("request", "=", wanted),
            key_prefix=f"{name}\0",
            limit=1,
        )
        return file_of(found[0].document) if found else None

    async def _remove_superseded(self, name: FileName) -> None:
        while True:
            found = await self._documents.find(
                SUPERSEDED, scopes=[str(name.parent)], key_prefix=f"{name}\0", limit=1000, with_text=False
            )
            for item in found:
                await self._documents.remove(SUPERSEDED, item.document.key)
            if len(found) < 1000:
                return


def _same_id(one: str, other: str) -> bool:
    return one.partition(" ")[0] == other.partition(" ")[0]
