"""Which policy holds for new bytes: the dataset's own, else its catalog's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from measurand.core.catalog_documents import CATALOGS
from measurand.core.dataset_documents import DATASETS
from measurand.core.means import Means
from measurand.core.names import CatalogName, DatasetName
from measurand.core.placement.policies import Policy
from measurand.core.ports import DocumentStore

__all__ = ["Policies"]

REMEMBERED_SECONDS = 5.0
"""A change counts everywhere after that: a write of many small blobs should not ask for its policy each time."""

REMEMBERED = 10_000


class Policies:
    """Looks policies up, and remembers them for a few seconds."""

    def __init__(self, documents: DocumentStore, means: Means) -> None:
        self._documents = documents
        self._means = means
        self._remembered: OrderedDict[str, tuple[float, Policy | None]] = OrderedDict()

    async def of(self, parent: DatasetName | CatalogName) -> Policy | None:
        """Return the policy for new bytes in a dataset, or in a catalog. None: they are kept where the server likes."""
        policy = await self._get(DATASETS, str(parent)) if isinstance(parent, DatasetName) else None
        return policy or await self._get(CATALOGS, f"catalogs/{parent.catalog}")

    async def _get(self, collection: str, key: str) -> Policy | None:
        now = self._means.monotonic()
        known = self._remembered.get(key)
        if known is not None and now - known[0] < REMEMBERED_SECONDS:
            return known[1]
        document = await self._documents.fetch(collection, key)
        body = document.body.get("storage_policy") if document is not None else None
        policy = Policy.from_json(body) if isinstance(body, Mapping) else None
        self._remembered[key] = (now, policy)
        self._remembered.move_to_end(key)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return policy
