"""Lists of files: all below a prefix, or one level of it with its folders; with older generations where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.file_documents import FILES, SUPERSEDED, File, file_of, superseded_key
from measurand.core.files import DatasetGate
from measurand.core.filters.tree import Compare
from measurand.core.names import CatalogName, DatasetName
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.principal import Principal
from measurand.core.view import Scalar
from measurand.wire.errors import InvalidArgument, NotFound

__all__ = ["FileListing", "FilePage"]

_LAST_CHARACTERS = "\U0010ffff" * 64
"""Sorts behind every segment of a path: a segment has at most 255 bytes."""


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files and, with one level only, some folders (each ending in `/`).

    Parameters
    ----------
    after : Position, optional
        Where the next page begins. None: this was the last.
    """

    files: Sequence[File]
    folders: Sequence[str]
    after: Position | None

    def cut(self, count: int) -> FilePage:
        """Return the page up to its first `count` files, at least one, and what lies before the last of them."""
        if count >= len(self.files):
            return self
        last = self.files[count - 1]
        key = superseded_key(last.name, last.generation) if last.superseded else str(last.name)
        folders = [folder for folder in self.folders if folder < last.name.path]
        return FilePage(self.files[:count], folders, Position((), key))


class FileListing:
    """Lists the files of a dataset by path."""

    def __init__(self, documents: DocumentStore, datasets: DatasetGate) -> None:
        self._documents = documents
        self._datasets = datasets

    async def page(
        self,
        principal: Principal,
        parent: DatasetName,
        *,
        prefix: str = "",
        one_level: bool = False,
        show_superseded: bool = False,
        after: Position | None = None,
        limit: int = 100,
    ) -> FilePage:
        """Return one page, by path and then the newest generation first.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: one level is asked for with a prefix that is no folder.
        """
        await self._datasets.require(principal, parent)
        if one_level and prefix and not prefix.endswith("/"):
            raise InvalidArgument(f"prefix {prefix!r} must end in `/` where one_level is set", field="prefix")
        start = f"{parent}/files/{prefix}"
        if one_level:
            return await self._level(parent, start, after, limit)
        documents = await self._page(FILES, parent, start, after, limit + 1)
        if show_superseded:
            older = await self._page(SUPERSEDED, parent, start, after, limit + 1)
            documents = sorted([*documents, *older], key=lambda document: document.key)
        more = len(documents) > limit
        documents = documents[:limit]
        files = await self._without_leftovers(documents) if show_superseded else [file_of(one) for one in documents]
        return FilePage(files, (), Position((), documents[-1].key) if more else None)

    async def named(
        self,
        principal: Principal,
        parent: DatasetName | CatalogName,
        file_name: str,
        *,
        after: Position | None = None,
        limit: int = 100,
    ) -> FilePage:
        """Return one page of the files whose last segment is `file_name`, in one dataset or in all of a catalog."""
        if isinstance(parent, DatasetName):
            await self._datasets.require(principal, parent)
        else:
            await self._datasets.require_catalog(principal, parent)
        found = await self._documents.find(
            FILES,
            scopes=[str(parent)] if isinstance(parent, DatasetName) else None,
            where=Compare("filename", "=", Scalar("s", file_name)),
            key_prefix=f"{parent}/",
            after=after,
            limit=limit + 1,
            with_text=False,
        )
        files = [file_of(item.document) for item in found[:limit]]
        is_open: dict[DatasetName, bool] = {}
        for name in {file.name.parent for file in files}:
            try:
                await self._datasets.require(principal, name)
                is_open[name] = True
            except NotFound:
                is_open[name] = False
        shown = [file for file in files if is_open[file.name.parent]]
        return FilePage(shown, (), found[limit - 1].position if len(found) > limit else None)

    async def _level(self, parent: DatasetName, start: str, after: Position | None, limit: int) -> FilePage:
        """Skip from folder to folder: what lies in them is not read."""
        files: list[File] = []
        folders: list[str] = []
        while True:
            documents = await self._page(FILES, parent, start, after, limit + 1)
            for document in documents:
                if after is not None and document.key <= after.key:
                    continue  # lies in the folder that was just noted
                if len(files) + len(folders) == limit:
                    return FilePage(files, folders, after)
                folder, slash, _ = document.key[len(start) :].partition("/")
                if slash:
                    folders.append(f"{start[len(f'{parent}/files/') :]}{folder}/")
                    after = Position((), f"{start}{folder}/{_LAST_CHARACTERS}")
                else:
                    files.append(file_of(document))
                    after = Position((), document.key)
            if len(documents) <= limit:
                return FilePage(files, folders, None)

    async def _page(
        self, collection: str, parent: DatasetName, start: str, after: Position | None, limit: int
    ) -> list[Document]:
        found = await self._documents.find(
            collection, scopes=[str(parent)], key_prefix=start, after=after, limit=limit, with_text=False
        )
        return [item.document for item in found]

    async def _without_leftovers(self, documents: Sequence[Document]) -> list[File]:
        """Drop the copy of a newest generation that a crash left behind before the generation was replaced."""
        names = {document.key.partition("\0")[0] for document in documents if "\0" in document.key}
        newest: dict[str, Document] = {}
        ordered = sorted(names)
        for start in range(0, len(ordered), 1000):
            newest.update(await self._documents.fetch_many(FILES, ordered[start : start + 1000]))
        files = []
        for document in documents:
            file = file_of(document)
            current = newest.get(str(file.name))
            if file.superseded and current is not None and file_of(current).generation <= file.generation:
                continue
            files.append(file)
        return files
