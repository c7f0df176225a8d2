"""Operations that have come more or less far."""

from __future__ import annotations

from collections.abc import Callable

from tests.core.rooms import Rooms

from measurand.core.operations import deciding
from measurand.core.operations.documents import (
    OPERATIONS,
    Operation,
    Problem,
    Progress,
    TargetProblem,
    operation_document,
)
from measurand.core.operations.operations import Operations
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern
from measurand.wire.errors import NotFound, StoreFull

__all__ = ["fill_operations"]


async def fill_operations(rooms: Rooms) -> None:
    """Make some: one that is at work, one that ended well, one that failed."""
    now = rooms.means.now()
    operations = Operations(rooms.documents, rooms.means, rooms.limits, compile_pattern=compile_pattern)

    def at_work(operation: Operation) -> Operation:
        lost = TargetProblem("containers/b", Problem.of(NotFound("gone", resource="containers/b")))
        begun = deciding.begun(operation, "a process", now)
        return deciding.noted(deciding.told(begun, Progress(1, 3, "blobs", "moving"), (lost,), now), {"after": "x"})

    full = Problem.of(StoreFull("no room", retry_seconds=1.5, needed_bytes=7))
    becoming: list[Callable[[Operation], Operation]] = [
        at_work,
        lambda one: deciding.succeeded(at_work(one), {"moved_blobs": 3}, now),
        lambda one: deciding.failed(at_work(one), full, now),
    ]
    for become in becoming:
        made = await operations.create(LOCAL_USER, "drain", targets=["containers/a"], arguments={"force": True})
        await rooms.documents.replace(OPERATIONS, operation_document(become(made)), expected_revision=1)
