"""Small files on their way up, many to a message: one stream after the other, until each has its answer."""

from __future__ import annotations

from collections.abc import Callable, Generator

from measurand.client import methods, names, problems, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.batches import Batch, Pending
from measurand.v1 import files_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import MeasurandError, Unavailable

__all__ = ["Settle", "put_batches"]

Settle = Callable[[files_pb2.SmallFile, files_pb2.File | MeasurandError], None]
"""Is told of each file once: what was sent, and the file that it became or why there is none."""

READ_AHEAD = 2


async def put_batches(calls: AsyncCalls, dataset: str, batches: Generator[Batch, None, None], settle: Settle) -> None:
    """Store the small files of all batches, which are made ahead in a thread; each succeeds or fails by itself.

    What has no answer when a stream breaks is sent again under the same request id: nothing is stored twice.
    """
    transport = await calls.transport()
    request_id = names.request_id()
    pending = Pending()
    tries = calls.tries()
    async with aio.ahead(batches, depth=READ_AHEAD) as made:
        has_more = True
        while has_more or pending:
            try:
                async with await transport.duplex(methods.PUT_FILES) as stream:
                    first = files_pb2.PutFilesRequest(parent=dataset, request_id=request_id)
                    for batch in pending.again():
                        await _send(stream, first, batch)
                    while has_more:
                        while not pending.has_room:
                            _take(await stream.receive(), pending, settle, tries)
                        while (answer := stream.receive_ready()) is not None:
                            _take(answer, pending, settle, tries)
                        new = await anext(made, None)
                        if new is None:
                            has_more = False
                        else:
                            pending.add(new)
                            await _send(stream, first, new)
                    await stream.finish()
                    while pending:
                        _take(await stream.receive(), pending, settle, tries)
            except MeasurandError as error:
                if not retries.may_reopen(error):
                    raise
                await calls.pause(tries, error)


async def _send(
    stream: aio.Duplex[Bulk[files_pb2.PutFilesRequest], files_pb2.PutFilesResponse],
    first: files_pb2.PutFilesRequest,
    batch: Batch,
) -> None:
    head = files_pb2.PutFilesRequest(parent=first.parent, request_id=first.request_id, files=batch.files)
    first.request_id = ""  # the first message of a stream only
    await stream.send(Bulk(head, batch.data))


def _take(answer: files_pb2.PutFilesResponse | None, pending: Pending, settle: Settle, tries: retries.Tries) -> None:
    """Take the results of some files."""
    if answer is None:
        raise Unavailable("the server ended the stream before all files had an answer", transport="OK")
    for result in answer.results:
        error = problems.error_of(result.problem) if result.HasField("problem") else None
        if error is not None and retries.may_reopen(error):
            raise error  # all that has no answer yet is sent again, this one too
        sent = pending.settle(result.index)
        if sent is None:  # answered on an earlier stream as well
            continue
        tries.progress()
        settle(sent, result.file if error is None else error)
