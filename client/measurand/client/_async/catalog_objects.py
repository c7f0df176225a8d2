"""The part of a catalog's handle that leads to objects."""

from __future__ import annotations

from measurand.client._async.calls import AsyncCalls
from measurand.client._async.objects import AsyncObjects
from measurand.v1 import catalogs_pb2

__all__ = ["AsyncCatalogObjects"]


class AsyncCatalogObjects:
    """What a catalog can do with objects."""

    _calls: AsyncCalls
    _message: catalogs_pb2.Catalog

    @property
    def objects(self) -> AsyncObjects:
        """Bytes under keys, kept in the dataset `objects`; `lab.objects("cache")` keeps them in another one."""
        return AsyncObjects(self._calls, self._message.name)
