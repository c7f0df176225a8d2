"""What catalogs hold: counted in the background, kept in documents of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measurand.core.catalog_documents import Usage
from measurand.core.dataset_documents import DATASETS, HIDDEN
from measurand.core.filters.tree import Exists
from measurand.core.ports import Document, DocumentStore

__all__ = ["USAGES", "count_usage", "keep_usage", "usage_of"]

USAGES = "usages"
"""The collection: key and scope the catalog's name."""


def usage_of(document: Document) -> Usage:
    """Return what a document says."""
    body: Mapping[str, Any] = document.body
    return Usage(body["stored_bytes"], body["dataset_count"], body["file_count"])


async def count_usage(documents: DocumentStore, catalog: str) -> Usage:
    """Return what a catalog holds now.

    All less the deleted ones: stores add up all from an index, and the deleted ones are few.
    """
    gone = Exists(HIDDEN)
    files = await documents.total(DATASETS, "file_count", scopes=[catalog])
    stored = await documents.total(DATASETS, "stored_bytes", scopes=[catalog])
    less_files = await documents.total(DATASETS, "file_count", scopes=[catalog], where=gone)
    less_stored = await documents.total(DATASETS, "stored_bytes", scopes=[catalog], where=gone)
    return Usage(
        stored_bytes=stored.total - less_stored.total,
        dataset_count=files.count - less_files.count,
        file_count=files.total - less_files.total,
    )


async def keep_usage(documents: DocumentStore, catalog: str, usage: Usage) -> None:
    """Store what a catalog holds. Of two that store at once either may win: the next change counts again."""
    body = {
        "stored_bytes": usage.stored_bytes,
        "dataset_count": usage.dataset_count,
        "file_count": usage.file_count,
    }
    document = Document(catalog, catalog, body)
    if not (await documents.insert_many(USAGES, [document]))[0]:
        kept = await documents.fetch(USAGES, catalog)
        if kept is not None and kept.body != body:
            await documents.replace(USAGES, document, expected_revision=kept.revision)
