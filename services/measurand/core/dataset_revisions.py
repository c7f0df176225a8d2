"""What datasets were: one revision, or all of them, newest first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from measurand.core.dataset_documents import Revision, revision_of
from measurand.core.dataset_search import Page
from measurand.core.history import History, integer
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import DatasetName
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import Document, Position
from measurand.core.principal import Principal
from measurand.wire.errors import NotFound

__all__ = ["Revisions"]

Item = TypeVar("Item")

REVISIONS_AT_ONCE = 10
"""A past dataset may have 4 MiB of metadata: so many are in memory at once."""


class Revisions:
    """Reads the past of datasets.

    Parameters
    ----------
    fetch : callable
        Returns the present document of a dataset that may be seen, or raises NotFound.
    """

    def __init__(
        self,
        fetch: Callable[[Principal, DatasetName], Awaitable[Document]],
        history: History,
        means: Means,
        limits: Limits,
    ) -> None:
        self._fetch = fetch
        self._history = history
        self._means = means
        self._limits = limits

    async def get(self, principal: Principal, name: DatasetName, number: int) -> Revision:
        """Return a dataset as it was at a revision. Raises NotFound."""
        current = await self._fetch(principal, name)
        past = await self._history.at(current, number)
        if past is None:
            raise NotFound(
                f"{name}/revisions/{number}: there is no such revision; the newest is {current.body['revision']}",
                resource=f"{name}/revisions/{number}",
            )
        return revision_of(past)

    async def find(
        self,
        principal: Principal,
        name: DatasetName,
        pack: Callable[[Revision], Awaitable[tuple[Item, int]]],
        *,
        size: int = 0,
        page_token: str = "",
        with_metadata: bool = True,
    ) -> Page[Item]:
        """Return a page of the revisions of a dataset, newest first, cut where they come to too many bytes."""
        limit = page_size(size, self._limits)
        request = ("revisions", str(name))
        start = open_token(page_token, request=request, values=0, now=self._means.now())
        current = await self._fetch(principal, name)
        newest = integer(current.body, "revision")
        below = int(start.after.key) if start.after and start.after.key.isdecimal() else newest + 1
        part = [current] if below > newest else []
        items: list[Item] = []
        used = 0
        while True:
            for document in part:
                item, weight = await pack(revision_of(document))
                if items and (len(items) == limit or used + weight > self._limits.page_bytes):
                    return Page(items, make_token(Position((), str(below)), request=request, now=start.now))
                items.append(item)
                used, below = used + weight, integer(document.body, "revision")
            part = list(await self._history.before(current, below, limit=REVISIONS_AT_ONCE, with_text=with_metadata))
            if not part:
                return Page(items, "")
