"""Metadata documents: read and checked, patched, compared and cut. Large ones are worked on beside the event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from measurand.core.dataset_edits import Source
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.searchable import view_of_metadata
from measurand.core.view import View
from measurand.wire.documents import Value, changed_paths, decode, encode, merge_patch, select, text_bytes
from measurand.wire.errors import DocumentInvalid, TooLarge

__all__ = ["Metadata", "MetadataReader"]

THREAD_BYTES = 64 * 1024
"""Larger documents are worked on in a thread: they would hold up the event loop for a millisecond and more."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Metadata:
    """A checked document.

    Parameters
    ----------
    text : str
        The one canonical text of it, as Extended JSON.
    size : int
        Bytes of the text.
    view : View
        What it can be found by.
    """

    text: str
    size: int
    view: View


class MetadataReader:
    """Does with documents what takes time."""

    def __init__(self, means: Means, limits: Limits) -> None:
        self._means = means
        self._limits = limits

    async def read(self, source: Source, *, field: str) -> Metadata:
        """Return what a caller sent, checked.

        Raises
        ------
        DocumentInvalid
            DOCUMENT_INVALID: it is no document; with the path of what is wrong.
        TooLarge
            TOO_LARGE: its text is too long; with both sizes.
        """
        return await self._run(_weight(source), self._read, source, field)

    async def patched(self, text: str, patch: Metadata) -> tuple[Metadata, list[str]]:
        """Return the document that a merge patch makes of `text`, and the paths at which it differs."""
        return await self._run(len(text) + patch.size, self._patched, text, patch)

    async def changed(self, text: str, new: Metadata) -> list[str]:
        """Return the paths at which a new document differs from `text`."""
        if text == new.text:
            return []
        return await self._run(len(text) + new.size, _changed, text, new.text)

    async def view(self, text: str) -> View:
        """Return what a document can be found by."""
        return await self._run(len(text), _view, text)

    async def selected(self, text: str, paths: Sequence[str]) -> str:
        """Return the part of a document that `metadata_paths` choose, as text."""
        return await self._run(len(text), _selected, text, tuple(paths)) if paths and text else text

    def check_paths(self, paths: Sequence[str]) -> None:
        """Raise InvalidArgument unless these are `metadata_paths` that documents can be cut by."""
        select({}, paths)

    async def _run(self, size: int, work: Callable[..., Result], *args: object) -> Result:
        return work(*args) if size <= THREAD_BYTES else await self._means.in_thread(work, *args)

    def _read(self, source: Source, field: str) -> Metadata:
        try:
            document: Mapping[str, object] = decode(source) if isinstance(source, str) else source
            return self._checked(document, field)
        except DocumentInvalid as error:
            path = error.details.get("path", "")
            raise DocumentInvalid(f"{field}: {error.message}", path=path, field=field) from error

    def _patched(self, text: str, patch: Metadata) -> tuple[Metadata, list[str]]:
        before = decode(text)
        after: dict[str, Value] = merge_patch(before, decode(patch.text))
        return self._checked(after, "metadata_patch"), changed_paths(before, after)

    def _checked(self, document: Mapping[str, object], field: str) -> Metadata:
        text = encode(document)
        size = text_bytes(text)
        if size > self._limits.max_document_bytes:
            raise TooLarge(
                f"{field}: the document has {size} bytes as text; the most is {self._limits.max_document_bytes}; "
                "put what is large into a file",
                limit=self._limits.max_document_bytes,
                actual=size,
                field=field,
            )
        return Metadata(text, size, view_of_metadata(document))


def _weight(source: Source) -> int:
    """Return how many bytes a document has; a decoded one, which only people send, counts as large."""
    return len(source) if isinstance(source, str) else 1 + THREAD_BYTES


def _changed(old: str, new: str) -> list[str]:
    return changed_paths(decode(old), decode(new))


def _view(text: str) -> View:
    return view_of_metadata(decode(text))


def _selected(text: str, paths: Sequence[str]) -> str:
    return encode(select(decode(text), paths))
