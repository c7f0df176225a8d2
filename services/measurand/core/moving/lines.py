"""Documents as lines of JSON: what backups hold, and what the documents of two stores are compared by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from measurand.core.moving.contents import Content, portable
from measurand.core.ports import Document, DocumentStore, Json, Position
from measurand.wire.errors import DataLoss

__all__ = ["Sum", "document_of", "line_of", "sum_up", "walk"]


@dataclass(frozen=True, slots=True)
class Sum:
    """What all documents of a collection come to.

    Parameters
    ----------
    sha256 : str
        Of their lines, by key.
    """

    count: int
    sha256: str


def line_of(document: Document) -> bytes:
    """Return a document as one line, always the same for the same document."""
    value: dict[str, Json] = {"key": document.key, "scope": document.scope, "body": document.body}
    if document.text:
        value["text"] = document.text
    return (
        json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")) + "\n"
    ).encode()


def document_of(line: bytes) -> Document:
    """Return the document of a line. Raises DataLoss."""
    try:
        value = json.loads(line)
        return Document(value["key"], value["scope"], value["body"], value.get("text", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise DataLoss(f"a line of the backup is no document: {line[:80]!r}") from error


async def walk(
    documents: DocumentStore, collection: str, at_once: int, *, after: str = ""
) -> AsyncIterator[Sequence[Document]]:
    """Yield all documents of a collection behind a key, some at a time, by key."""
    position = Position((), after) if after else None
    while found := await documents.find(collection, after=position, limit=at_once):
        yield [item.document for item in found]
        if len(found) < at_once:
            return
        position = found[-1].position


async def sum_up(documents: DocumentStore, contents: Sequence[Content], *, with_running: bool) -> Mapping[str, Sum]:
    """Return what the documents of each collection come to, as they stand in another store."""
    sums: dict[str, Sum] = {}
    for content in contents:
        count, digest = 0, hashlib.sha256()
        async for batch in walk(documents, content.name, content.at_once):
            for document in batch:
                moved = portable(content, document, with_running=with_running)
                if moved is not None:
                    count += 1
                    digest.update(line_of(moved))
        sums[content.name] = Sum(count, digest.hexdigest())
    return sums
