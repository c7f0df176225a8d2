"""What a catalog's handle knows without asking."""

from __future__ import annotations

from datetime import datetime, timedelta

from measurand.client import names
from measurand.client.results import time_of
from measurand.client.storage import Storage, storage_of
from measurand.v1 import catalogs_pb2

__all__ = ["CatalogFacts"]


class CatalogFacts:
    """A catalog as it was when it was read."""

    _message: catalogs_pb2.Catalog

    @property
    def name(self) -> str:
        """Its resource name, `catalogs/{catalog}`."""
        return self._message.name

    @property
    def id(self) -> str:
        """Its id."""
        return names.last_part(self._message.name)

    @property
    def title(self) -> str:
        """Free text."""
        return self._message.title

    @property
    def description(self) -> str:
        """Free text."""
        return self._message.description

    @property
    def labels(self) -> dict[str, str]:
        """Pairs of words."""
        return dict(self._message.labels)

    @property
    def created(self) -> datetime | None:
        """When it was made."""
        return time_of(self._message, "create_time")

    @property
    def updated(self) -> datetime | None:
        """When it last changed."""
        return time_of(self._message, "update_time")

    @property
    def deleted(self) -> datetime | None:
        """When it was deleted. None: it is not."""
        return time_of(self._message, "delete_time")

    @property
    def undelete_window(self) -> timedelta | None:
        """How long deleted datasets can be brought back. None: 30 days."""
        return self._message.undelete_window.ToTimedelta() if self._message.HasField("undelete_window") else None

    @property
    def storage(self) -> Storage | None:
        """Where new bytes are kept and how often. None: once, where the server keeps them."""
        return storage_of(self._message.storage_policy) if self._message.HasField("storage_policy") else None

    @property
    def dataset_count(self) -> int:
        """Number of datasets when the handle was read; may lag by a minute."""
        return self._message.usage.dataset_count

    @property
    def stored_bytes(self) -> int:
        """Bytes in files when the handle was read; may lag by a minute."""
        return self._message.usage.stored_bytes
