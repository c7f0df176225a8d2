"""What a search found: fetched page by page, as far as the loop gets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from measurand.client import display, methods
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.datasets import AsyncDataset
from measurand.client.projection import project
from measurand.client.rows import row
from measurand.v1 import datasets_pb2
from measurand.wire.errors import InvalidArgument

if TYPE_CHECKING:
    import pandas

__all__ = ["AsyncFound"]

LARGEST_PAGE = 1000


class AsyncFound:
    """The datasets that match a filter.

    Nothing is fetched before it is asked for: by a loop, `first`, `page` or `to_pandas`. A loop fetches one page after
    the other; a dataset that exists all the while comes exactly once, whatever is made meanwhile.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        parent: str,
        text: str,
        *,
        order_by: str,
        limit: int | None,
        fields: Sequence[str] | None,
        page_size: int,
        show_deleted: bool,
    ) -> None:
        self._calls = calls
        if not 1 <= page_size <= LARGEST_PAGE:
            raise InvalidArgument(f"page_size={page_size} is not within 1 to {LARGEST_PAGE}", field="page_size")
        self._limit = limit
        self._fields = fields
        self._page_size = page_size
        self._request = datasets_pb2.ListDatasetsRequest(
            parent=parent, filter=text, order_by=order_by, show_deleted=show_deleted, **project(fields)
        )

    async def __aiter__(self) -> AsyncGenerator[AsyncDataset, None]:
        left = self._limit
        token = ""
        while left is None or left > 0:
            size = self._page_size if left is None else min(self._page_size, left)
            page = await self._fetch(size, token)
            for message in page.datasets[:left]:
                yield AsyncDataset(self._calls, message)
            left = None if left is None else left - len(page.datasets)
            token = page.next_page_token
            if not token:
                return

    async def first(self) -> AsyncDataset | None:
        """Return the first one, or None if nothing matches."""
        token = ""
        while self._limit is None or self._limit > 0:
            page = await self._fetch(1, token)
            if page.datasets:
                return AsyncDataset(self._calls, page.datasets[0])
            token = page.next_page_token
            if not token:
                break
        return None

    async def page(self, number: int = 0) -> list[AsyncDataset]:
        """Return one page of `page_size` datasets, counted from 0; empty behind the last."""
        start, found = number * self._page_size, list[AsyncDataset]()
        position = 0
        async with aclosing(aiter(self)) as datasets:
            async for dataset in datasets:
                if position >= start:
                    found.append(dataset)
                position += 1
                if position == start + self._page_size:
                    break
        return found

    async def all(self) -> list[AsyncDataset]:
        """Return all of them in a list."""
        return [dataset async for dataset in self]

    async def to_pandas(self) -> pandas.DataFrame:
        """Return all of them as a table: a row each, nested metadata as columns such as `metadata.device.wafer`.

        Needs pandas (`pip install "measurand[pandas]"`). Only the columns of `fields` where these were given.
        """
        import pandas

        return pandas.DataFrame([row(dataset, self._fields) async for dataset in self])

    async def _fetch(self, size: int, token: str) -> datasets_pb2.ListDatasetsResponse:
        request = datasets_pb2.ListDatasetsRequest()
        request.CopyFrom(self._request)
        request.page_size, request.page_token = size, token
        return await self._calls.unary(methods.LIST_DATASETS, request)

    def __repr__(self) -> str:
        order, text = self._request.order_by, self._request.filter
        return display.line(
            "Found", f"in {self._request.parent}", {"filter": text, "order_by": order, "limit": self._limit}
        )
