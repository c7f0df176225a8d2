"""A server that also does operations of the kind `count`, and beginning some in its store.

What would take half a minute, that a runner is given up, takes seconds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from measurand.wire.malloc import tune

if TYPE_CHECKING:
    from measurand.core.operations.jobs import Job
    from measurand.core.ports import Json
    from measurand.server.operation_rooms import OperationParts

__all__ = ["LEASE_SECONDS", "PROGRAM", "begin", "counting"]

LEASE_SECONDS = 3.0
PROGRAM = "tests.operating"


async def count(job: Job) -> Mapping[str, Json]:
    """Count up to `steps`.

    Of the arguments, `gate` is a file that it waits for behind the first step, `traces` one that it adds a line to
    with each step, `lost` a target that fails, `error` what it fails with at its end, `unit` what the response says.
    """
    from measurand.wire.errors import NotFound, StoreFull

    asked: Mapping[str, Any] = job.arguments  # type: ignore[assignment]  # `begin` gives no other
    done = job.state if isinstance(job.state, int) else 0
    for step in range(done, asked["steps"]):
        while step and "gate" in asked and not is_open(asked["gate"]):
            job.check()
            await asyncio.sleep(0.01)
        if "traces" in asked:
            trace(asked["traces"], step)
        job.progress(step + 1, asked["steps"], "steps", "counting")
        await job.checkpoint(step + 1)
    if "lost" in asked:
        job.fail_target(asked["lost"], NotFound(f"{asked['lost']} is gone", resource=asked["lost"]))
    if "error" in asked:
        raise StoreFull(asked["error"], needed_bytes=7)
    return {"done": asked["steps"], "unit": asked.get("unit", "steps")}


def is_open(gate: str) -> bool:
    return Path(gate).exists()


def trace(path: str, step: int) -> None:
    with Path(path).open("a") as traces:
        traces.write(f"{os.getpid()} {step}\n")


@contextmanager
def counting() -> Iterator[list[OperationParts]]:
    """Have servers that are composed meanwhile count; what they were given for operations is added to the list."""
    from measurand.server import compose as composing
    from measurand.server.operation_rooms import make_operation_parts
    from measurand.services.operation_messages import RESPONSES
    from measurand.v1.operations_pb2 import Progress

    made: list[OperationParts] = []

    def make(*arguments: Any, handlers: Mapping[str, Any], **more: Any) -> OperationParts:
        made.append(make_operation_parts(*arguments, handlers={**handlers, "count": count}, **more))
        return made[-1]

    with (
        mock.patch.object(composing, "make_operation_parts", make),
        mock.patch.dict(RESPONSES, {"count": Progress}),
    ):
        yield made


def begin(documents: str, *, targets: tuple[str, ...] = (), request_id: str = "", **arguments: Json) -> str:
    """Begin to count in a store, which servers may stand on, and return the id of the operation.

    Parameters
    ----------
    documents : str
        The URL of the store.
    """
    from measurand.core.limits import Limits
    from measurand.core.operations.operations import Operations
    from measurand.core.principal import LOCAL_USER
    from measurand.server.config import load
    from measurand.server.means import make_means
    from measurand.server.patterns import compile_pattern
    from measurand.server.stores import open_documents

    async def create() -> str:
        opened = await open_documents(load({"documents": documents}).documents_place)
        try:
            operations = Operations(opened.store, make_means(threads), Limits(), compile_pattern=compile_pattern)
            made = await operations.create(
                LOCAL_USER, "count", targets=targets, arguments=arguments, request_id=request_id
            )
            return made.id
        finally:
            await opened.store.close()

    with ThreadPoolExecutor() as threads:
        return threads.submit(asyncio.run, create()).result()  # the caller may have a loop of its own


def main() -> None:
    """Run the command with one more kind of operations, and a short lease."""
    tune()
    from measurand.core.operations import holding, runner, working
    from measurand.server.run import command

    for module in (holding, runner):
        mock.patch.object(module, "LEASE_SECONDS", LEASE_SECONDS).start()
    mock.patch.object(working, "RENEW_SECONDS", LEASE_SECONDS / 6).start()
    mock.patch.object(runner, "LOOK_SECONDS", LEASE_SECONDS / 6).start()
    with counting():
        command()


if __name__ == "__main__":
    main()
