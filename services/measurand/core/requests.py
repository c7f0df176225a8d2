"""Request ids: a repeated request gives the first outcome and changes nothing more.

What a request made carries the request's id and a fingerprint of what was asked, so it is remembered exactly when the
change was made. Only where the server chooses the id of what is made there is nothing to look at before it is made:
there a small document of its own, written first, fixes the id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore, Json
from measurand.core.times import microseconds
from measurand.core.view import Entry, Scalar, View
from measurand.wire.errors import Contention, InvalidArgument, MeasurandError, RequestIdReused

__all__ = [
    "REQUESTS",
    "Request",
    "RequestIds",
    "check_request_id",
    "fingerprint",
    "fixed_view",
    "is_repeat",
    "make_request",
]

REQUESTS = "requests"
"""The collection of what requests fixed the ids of: key the parent and the request's id, scope the parent."""

MAX_REQUEST_ID = 64


@dataclass(frozen=True, slots=True)
class Request:
    """One intended change.

    Parameters
    ----------
    id : str
        Made by the caller.
    fingerprint : str
        Of everything that was asked, and who asked.
    expires : int
        Until when it is remembered, in microseconds since 1970.
    """

    id: str
    fingerprint: str
    expires: int

    def to_json(self) -> dict[str, Json]:
        """Return what is kept of it in the body of a document."""
        return {"id": self.id, "fingerprint": self.fingerprint, "expires": self.expires}


def make_request(request_id: str, now: datetime, limits: Limits, *asked: object) -> Request | None:
    """Return the request, or None without an id.

    Parameters
    ----------
    *asked : object
        The caller and everything that was asked: strings, and values whose `repr` says all of them.
    """
    if not request_id:
        return None
    check_request_id(request_id)
    return Request(request_id, fingerprint(*asked), microseconds(now + limits.request_id_lifetime))


def check_request_id(request_id: str) -> None:
    """Raise InvalidArgument unless it is an id that can be kept."""
    if len(request_id) > MAX_REQUEST_ID or not request_id.isascii() or not request_id.isprintable():
        raise InvalidArgument(
            f"request_id: {request_id[:80]!r} is not 1 to {MAX_REQUEST_ID} printable ASCII characters; use a UUID",
            field="request_id",
        )


def fingerprint(*asked: object) -> str:
    """Return what tells one request from another; `asked` as in `make_request`."""
    digest = hashlib.sha256()
    for part in asked:
        text = part if isinstance(part, str) else repr(part)
        digest.update(f"{len(text)} {text}".encode(errors="surrogatepass"))
    return digest.hexdigest()[:32]


def is_repeat(request: Request, kept: Json, now: datetime) -> bool:
    """Tell whether a document that keeps `kept` was made by this request.

    Raises
    ------
    RequestIdReused
        REQUEST_ID_REUSED: it was made by another request with the same id.
    """
    if not isinstance(kept, Mapping) or kept.get("id") != request.id:
        return False
    expires = kept.get("expires")
    if isinstance(expires, int) and expires <= microseconds(now):
        return False
    if kept.get("fingerprint") != request.fingerprint:
        raise RequestIdReused(
            f"request_id: {request.id!r} was used before for another request; make a new one for each change",
            field="request_id",
        )
    return True


def fixed_view(expires: int) -> View:
    """Return what a document of `REQUESTS` can be found by."""
    return [Entry("expires", Scalar("t", expires))]


class RequestIds:
    """What requests fixed the ids of, in a collection of its own."""

    def __init__(self, documents: DocumentStore, means: Means) -> None:
        self._documents = documents
        self._means = means

    async def fix(
        self, parent: str, requests: Sequence[Request], proposed: Sequence[str]
    ) -> list[str | MeasurandError]:
        """Return the id for each request: the one proposed, or the one that the same request fixed before.

        Durable when it returns. In the place of an id stands RequestIdReused where another request has the same id.
        """
        new = [_document(parent, request, value) for request, value in zip(requests, proposed, strict=True)]
        stored = await self._documents.insert_many(REQUESTS, new)
        fixed: list[str | MeasurandError] = []
        for request, value, document, is_new in zip(requests, proposed, new, stored, strict=True):
            if is_new:
                fixed.append(value)
                continue
            try:
                fixed.append(await self._fixed_before(request, document))
            except (RequestIdReused, Contention) as error:
                fixed.append(error)
        return fixed

    async def forget(self) -> int:
        """Remove what has expired, and return how many there were."""
        now = Scalar("t", microseconds(self._means.now()))
        removed = 0
        while True:
            found = await self._documents.find(REQUESTS, where=Compare("expires", "<=", now), limit=500)
            for item in found:
                removed += await self._documents.remove(
                    REQUESTS, item.document.key, expected_revision=item.document.revision
                )
            if len(found) < 500:
                return removed

    async def _fixed_before(self, request: Request, document: Document) -> str:
        for _ in range(3):
            kept = await self._documents.fetch(REQUESTS, document.key)
            if kept is None:  # it expired and was removed just now
                if (await self._documents.insert_many(REQUESTS, [document]))[0]:
                    return str(document.body["value"])
            elif is_repeat(request, kept.body["request"], self._means.now()):
                return str(kept.body["value"])
            elif await self._documents.replace(REQUESTS, document, expected_revision=kept.revision):
                return str(document.body["value"])
        raise Contention(f"request_id: {request.id!r} is being used by others; try again", retry_seconds=0.1)


def _document(parent: str, request: Request, value: str) -> Document:
    return Document(
        key=f"{parent} {request.id}",
        scope=parent,
        body={"request": request.to_json(), "value": value},
        view=fixed_view(request.expires),
    )
