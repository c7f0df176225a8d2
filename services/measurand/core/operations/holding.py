"""An operation while a runner holds it: every write of the runner is refused once another has taken it up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from measurand.core.leases import LEASE_SECONDS
from measurand.core.means import Means
from measurand.core.operations.documents import OPERATIONS, Operation, operation_document, operation_of
from measurand.core.ports import DocumentStore

__all__ = ["Holding", "LeaseLost"]


class LeaseLost(Exception):  # what has happened
    """Another runner has the operation, or may have it."""


class Holding:
    """One runner's hold of one operation.

    The lease is the document itself: whoever holds it writes it anew now and then, and for others the holder is gone
    when it has stood still for the whole time of a lease.

    Parameters
    ----------
    operation : Operation
        As it is, or is to be, begun by this runner.
    revision : int
        Of the document that it was found in.
    """

    def __init__(self, documents: DocumentStore, means: Means, operation: Operation, revision: int) -> None:
        self._documents = documents
        self._means = means
        self._revision = revision
        self._turn = asyncio.Lock()
        self._renewed = means.monotonic()
        self._operation = operation

    @property
    def operation(self) -> Operation:
        """As it was last read or written."""
        return self._operation

    @property
    def is_safe(self) -> bool:
        """Nobody else can have taken it yet: a third of the lease's time is kept as a margin."""
        return self._means.monotonic() - self._renewed < LEASE_SECONDS * 2 / 3

    async def begin(self) -> bool:
        """Write the operation down as begun. False: somebody else was faster."""
        async with self._turn:
            started = self._means.monotonic()
            stored = await self._documents.replace(
                OPERATIONS, operation_document(self._operation), expected_revision=self._revision
            )
            if stored is None:
                return False
            self._revision, self._renewed = stored.revision, started
            return True

    async def change(self, decide: Callable[[Operation], Operation]) -> Operation:
        """Replace the operation by what `decide` makes of it, which also renews the lease, and return it.

        `decide` is called anew when somebody has asked the operation to stop meanwhile.

        Raises
        ------
        LeaseLost
            Another runner has taken it up, or it is gone.
        """
        async with self._turn:
            while True:
                started = self._means.monotonic()
                after = decide(self._operation)
                stored = await self._documents.replace(
                    OPERATIONS, operation_document(after), expected_revision=self._revision
                )
                if stored is not None:
                    self._operation, self._revision, self._renewed = after, stored.revision, started
                    return after
                await self._read()

    async def refresh(self, revision: int) -> None:
        """Read the operation if it is at a revision that is not known here: it may be asked to stop."""
        async with self._turn:
            if revision > self._revision:
                with contextlib.suppress(LeaseLost):  # the next change finds out
                    await self._read()

    async def _read(self) -> None:
        current = await self._documents.fetch(OPERATIONS, self._operation.name)
        if current is None:
            raise LeaseLost
        operation = operation_of(current)
        if (operation.runner, operation.epoch) != (self._operation.runner, self._operation.epoch):
            raise LeaseLost
        self._operation, self._revision = operation, current.revision
