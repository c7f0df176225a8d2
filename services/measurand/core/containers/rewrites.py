"""Who is writing a large blob anew: its parts lie there for long before anything names them, and are no garbage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore, Json
from measurand.core.times import microseconds
from measurand.wire.errors import Conflict

__all__ = ["LEASE", "REWRITES", "Rewrite", "being_written"]

REWRITES = "rewrites"
"""The collection: key what the keys of the parts have in common."""

LEASE = timedelta(hours=1)
RENEW = timedelta(minutes=5)


@dataclass(slots=True)
class Rewrite:
    """One blob that is written anew by this process.

    Parameters
    ----------
    part : str
        The key of one of the new parts.
    """

    documents: DocumentStore
    means: Means
    part: str
    renewed: float = float("-inf")

    async def renew(self) -> None:
        """Say that it goes on, if that was not said a short time ago. Whoever began the same blob before has lost."""
        if self.means.monotonic() - self.renewed < RENEW.total_seconds():
            return
        began, document = self.means.monotonic(), self._document()
        current = await self.documents.fetch(REWRITES, document.key)
        if current is None:
            if not (await self.documents.insert_many(REWRITES, [document]))[0]:
                raise self._lost()
        elif current.body["attempt"] == document.body["attempt"] or self.renewed == float("-inf"):
            if await self.documents.replace(REWRITES, document, expected_revision=current.revision) is None:
                raise self._lost()
        else:
            raise self._lost()
        self.renewed = began

    async def check(self) -> None:
        """Raise Conflict if it was not said for so long that the parts may be gone."""
        late = self.means.monotonic() - self.renewed > (LEASE - RENEW).total_seconds()
        current = await self.documents.fetch(REWRITES, _stem(self.part))
        if late or current is None or current.body["attempt"] != _attempt(self.part):
            raise self._lost()

    async def end(self) -> None:
        """It is named now, or given up."""
        current = await self.documents.fetch(REWRITES, _stem(self.part))
        if current is not None and current.body["attempt"] == _attempt(self.part):
            await self.documents.remove(REWRITES, current.key, expected_revision=current.revision)

    def _document(self) -> Document:
        body: dict[str, Json] = {
            "attempt": _attempt(self.part),
            "expires": microseconds(self.means.now() + LEASE),
        }
        return Document(_stem(self.part), "", body)

    def _lost(self) -> Conflict:
        return Conflict(f"{self.part}: it is written anew by somebody else, or took too long; try again")


async def being_written(documents: DocumentStore, means: Means, parts: Iterable[str]) -> set[str]:
    """Return those of the keys of parts that belong to a blob which is being written anew."""
    stems: Mapping[str, str] = {part: _stem(part) for part in parts}
    if not stems:
        return set()
    found = await documents.fetch_many(REWRITES, sorted(set(stems.values())))
    now = microseconds(means.now())
    return {
        part
        for part, stem in stems.items()
        if (document := found.get(stem)) is not None
        and document.body["attempt"] == _attempt(part)
        and isinstance(expires := document.body["expires"], int)
        and expires > now
    }


def _stem(part: str) -> str:
    return part.rsplit(".", 2)[0]


def _attempt(part: str) -> str:
    return part.rsplit(".", 2)[1]
