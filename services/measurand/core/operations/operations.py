"""Operations: made, found, cancelled and forgotten. What they do is done by `runner`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.parser import parse_filter
from measurand.core.filters.tree import And, Compare, Exists, Has
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.operations.deciding import cancelled
from measurand.core.operations.documents import (
    MAX_TARGETS,
    OPERATION_FIELDS,
    OPERATIONS,
    UNFINISHED,
    Operation,
    operation_document,
    operation_of,
)
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import DocumentStore, Json, Order
from measurand.core.principal import Principal
from measurand.core.requests import RequestIds, make_request
from measurand.core.times import microseconds
from measurand.core.ulid import make_ulid
from measurand.core.view import Scalar
from measurand.wire.errors import Contention, FailedPrecondition, MeasurandError, NotFound

__all__ = ["OperationPage", "Operations", "missing"]

AT_ONCE = 100
NEWEST_FIRST = (Order("created", descending=True, required=True),)


@dataclass(frozen=True, slots=True)
class OperationPage:
    """Some operations, and the token of the next page (empty: this was the last)."""

    operations: Sequence[Operation]
    next_page_token: str


class Operations:
    """All operations.

    Parameters
    ----------
    compile_pattern : callable
        The engine of regular expressions, for filters.
    """

    def __init__(
        self, documents: DocumentStore, means: Means, limits: Limits, *, compile_pattern: CompilePattern
    ) -> None:
        self._documents = documents
        self._means = means
        self._limits = limits
        self._compile_pattern = compile_pattern
        self._request_ids = RequestIds(documents, means)

    async def create(
        self,
        principal: Principal,
        kind: str,
        *,
        targets: Sequence[str] = (),
        arguments: Json = None,
        request_id: str = "",
    ) -> Operation:
        """Begin an operation; a runner takes it up soon. Durable when it returns.

        Parameters
        ----------
        kind : str
            Which handler does it.
        targets : sequence of str
            The resources it works on; the first 1000 are kept, for people.
        arguments : Json
            What its handler is told, in full.

        Raises
        ------
        InvalidArgument
            REQUEST_ID_REUSED.
        """
        now = self._means.now()
        operation = Operation(
            id=make_ulid(now, self._means.random_bytes),
            kind=kind,
            creator=principal.name,
            create_time=now,
            update_time=now,
            targets=tuple(targets[:MAX_TARGETS]),
            arguments=arguments,
        )
        asked = (principal.name, kind, list(targets), json.dumps(arguments, sort_keys=True))
        request = make_request(request_id, now, self._limits, "operation", *asked)
        if request is not None:
            [fixed] = await self._request_ids.fix(OPERATIONS, [request], [operation.id])
            if isinstance(fixed, MeasurandError):
                raise fixed
            operation = replace(operation, id=fixed, request=request.to_json())
        if (await self._documents.insert_many(OPERATIONS, [operation_document(operation)]))[0]:
            return operation
        return await self.get(principal, operation.id)

    async def get(self, principal: Principal, operation_id: str) -> Operation:
        """Return an operation as it is now. Raises NotFound."""
        document = await self._documents.fetch(OPERATIONS, f"operations/{operation_id}")
        if document is None:
            raise missing(operation_id)
        return operation_of(document)

    async def page(
        self, principal: Principal, *, size: int = 0, page_token: str = "", filter_text: str = ""
    ) -> OperationPage:
        """Return a page of the operations, newest first.

        Raises
        ------
        FilterInvalid
            FILTER_INVALID, with the position.
        PageTokenInvalid
            PAGE_TOKEN_INVALID: it is malformed or from another request.
        """
        limit = page_size(size, self._limits)
        request = (OPERATIONS, filter_text)
        start = open_token(page_token, request=request, values=len(NEWEST_FIRST), now=self._means.now())
        where = parse_filter(filter_text, system=OPERATION_FIELDS, now=start.now, compile_pattern=self._compile_pattern)
        found = await self._documents.find(
            OPERATIONS, where=where, order=NEWEST_FIRST, after=start.after, limit=limit + 1
        )
        page = found[:limit]
        more = len(found) > limit
        token = make_token(page[-1].position, request=request, now=start.now) if more else ""
        return OperationPage([operation_of(item.document) for item in page], token)

    async def unfinished(self, kind: str, target: str) -> Operation | None:
        """Return the oldest operation of a kind that works on a target and has not ended, if there is one.

        For kinds of which one at a time is enough; two that are begun at the same moment may both be made.
        """
        where = And((Exists(UNFINISHED), Compare("kind", "=", Scalar("s", kind)), Has("targets", Scalar("s", target))))
        found = await self._documents.find(OPERATIONS, where=where, order=[Order("created", required=True)], limit=1)
        return operation_of(found[0].document) if found else None

    async def cancel(self, principal: Principal, operation_id: str) -> Operation:
        """Ask an operation to stop, and return it. Asking again, or one that has ended, changes nothing.

        Raises NotFound.
        """
        for _ in range(self._limits.max_retries):
            document = await self._documents.fetch(OPERATIONS, f"operations/{operation_id}")
            if document is None:
                raise missing(operation_id)
            before = operation_of(document)
            after = cancelled(before, self._means.now())
            if after is before:
                return before
            if await self._documents.replace(
                OPERATIONS, operation_document(after), expected_revision=document.revision
            ):
                return after
        raise Contention(f"operations/{operation_id}: its runner keeps changing it; try again", retry_seconds=0.2)

    async def delete(self, principal: Principal, operation_id: str) -> None:
        """Forget an operation that has ended.

        Raises
        ------
        FailedPrecondition
            STATE_WRONG: it has not.
        NotFound
            RESOURCE_NOT_FOUND.
        """
        operation = await self.get(principal, operation_id)
        if not operation.state.is_final:
            raise FailedPrecondition(
                f"{operation.name} is {operation.state}; cancel it, or wait until it has ended",
                resource=operation.name,
                state=operation.state.value,
            )
        await self._documents.remove(OPERATIONS, operation.name)

    async def expire(self) -> int:
        """Forget the operations whose time is over, and return how many. For a background job."""
        now = Scalar("t", microseconds(self._means.now()))
        removed = 0
        while True:
            found = await self._documents.find(OPERATIONS, where=Compare("expires", "<=", now), limit=AT_ONCE)
            for item in found:
                removed += await self._documents.remove(
                    OPERATIONS, item.document.key, expected_revision=item.document.revision
                )
            if len(found) < AT_ONCE:
                return removed


def missing(operation_id: str) -> NotFound:
    """Return the error for an operation that is not there."""
    name = f"operations/{operation_id}"
    return NotFound(
        f"{name}: there is no such operation; it was deleted, or ended more than 30 days ago", resource=name
    )
