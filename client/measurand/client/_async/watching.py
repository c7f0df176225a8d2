"""Changes of datasets as they happen, over lost connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.datasets import AsyncDataset
from measurand.v1 import common_pb2, datasets_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["AsyncChange", "open_watch"]


@dataclass(frozen=True, slots=True)
class AsyncChange:
    """A change of a dataset.

    Parameters
    ----------
    kind : str
        `existing`, `created`, `updated` or `deleted` (which includes "no longer matches the filter").
    dataset : AsyncDataset
        As the change left it.
    resume_token : str
        `watch(resume=…)` goes on after this change.
    """

    kind: str
    dataset: AsyncDataset
    resume_token: str


async def open_watch(
    calls: AsyncCalls, request: datasets_pb2.WatchDatasetsRequest
) -> AsyncGenerator[AsyncChange, None]:
    """Return the changes from now on; "now" is when this returns, not when the first one is asked for."""
    if not request.resume_token and not request.include_existing:
        poll = datasets_pb2.PollDatasetsRequest(parent=request.parent, filter=request.filter)
        request.resume_token = (await calls.unary(methods.POLL_DATASETS, poll)).resume_token
    return follow(calls, request)


async def follow(calls: AsyncCalls, request: datasets_pb2.WatchDatasetsRequest) -> AsyncGenerator[AsyncChange, None]:
    """Yield changes and reopen the stream where it broke."""
    transport = await calls.transport()
    tries = calls.tries()
    while True:
        try:
            async with aclosing(transport.stream(methods.WATCH_DATASETS, request)) as changes:
                async for change in changes:
                    tries.progress()
                    # What existed comes again if the stream breaks before it was all told: no token stands for a part.
                    if change.kind != common_pb2.CHANGE_KIND_EXISTING:
                        request.resume_token = change.resume_token
                        request.include_existing = False
                    if change.kind != common_pb2.CHANGE_KIND_HEARTBEAT:
                        kind = common_pb2.ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_").lower()
                        yield AsyncChange(kind, AsyncDataset(calls, change.dataset), change.resume_token)
        except MeasurandError as error:
            if not retries.may_reopen(error):
                raise
            await calls.pause(tries, error)
