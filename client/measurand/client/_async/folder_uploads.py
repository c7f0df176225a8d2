"""Whole folders on their way up: small files many to a message, large ones as uploads beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from measurand.client import methods, names, problems, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.listing import list_files
from measurand.client._async.uploads import SMALL, file_spec, send_source
from measurand.client._transport import aio
from measurand.client.batches import Batch, Pending, read_batches
from measurand.client.local import Entry, attributes_of, mtime_of, scan
from measurand.client.progress import Meter, Progress
from measurand.client.results import File, UploadResult
from measurand.client.sources import FileSource
from measurand.v1 import files_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import MeasurandError, Unavailable

__all__ = ["upload_folder"]

READ_AHEAD = 2


@dataclass(slots=True)
class Outcome:
    """What became of the files so far."""

    files: list[File] = field(default_factory=list)
    failed: dict[str, MeasurandError] = field(default_factory=dict)


async def upload_folder(
    calls: AsyncCalls, dataset: str, folder: Path, *, prefix: str, bound: int, progress: Progress
) -> UploadResult:
    """Store the files of a folder under a prefix; what is there already with its size and time is left alone."""
    entries = await aio.in_thread(scan, folder)
    present = {file.path: file async for file in list_files(calls, dataset, prefix=prefix)} if entries else {}
    skipped = [entry for entry in entries if _is_present(entry, present.get(prefix + entry.name))]
    known = {entry.name for entry in skipped}
    left = [entry for entry in entries if entry.name not in known]
    small = [entry for entry in left if entry.size <= SMALL]
    outcome = Outcome()
    with Meter(progress, folder.name or str(folder), sum(entry.size for entry in left)) as meter:

        async def send(part: list[Entry] | Entry) -> None:
            if isinstance(part, list):
                await _send_small(calls, dataset, prefix, part, outcome, meter)
            else:
                await _send_large(calls, dataset, prefix, part, outcome, meter)

        parts: list[list[Entry] | Entry] = [small] if small else []
        parts += [entry for entry in left if entry.size > SMALL]
        await aio.parallel(send, parts, bound=bound)
    outcome.files.sort(key=lambda file: file.path)
    return UploadResult(tuple(outcome.files), tuple(prefix + entry.name for entry in skipped), outcome.failed)


async def _send_large(
    calls: AsyncCalls, dataset: str, prefix: str, entry: Entry, outcome: Outcome, meter: Meter
) -> None:
    path = prefix + entry.name
    try:
        spec = file_spec(names.file_name(dataset, path), attributes=attributes_of(entry.mtime_ns, entry.mode))
        source = await aio.in_thread(FileSource, entry.path)
        outcome.files.append(File.of(await send_source(calls, spec, source, meter)))
    except (MeasurandError, OSError) as error:
        outcome.failed[path] = problems.said_of(path, error)


async def _send_small(
    calls: AsyncCalls, dataset: str, prefix: str, entries: list[Entry], outcome: Outcome, meter: Meter
) -> None:
    """Send small files by one stream after the other, until each has its answer."""
    transport = await calls.transport()
    request_id = names.request_id()
    pending = Pending()
    tries = calls.tries()
    async with aio.ahead(read_batches(dataset, prefix, entries, outcome.failed), depth=READ_AHEAD) as batches:
        has_more = True
        while has_more or pending:
            try:
                async with await transport.duplex(methods.PUT_FILES) as stream:
                    first = files_pb2.PutFilesRequest(parent=dataset, request_id=request_id)
                    for batch in pending.again():
                        await _send_batch(stream, first, batch)
                    while has_more:
                        while not pending.has_room:
                            _settle(await stream.receive(), pending, outcome, meter, tries)
                        while (answer := stream.receive_ready()) is not None:
                            _settle(answer, pending, outcome, meter, tries)
                        new = await anext(batches, None)
                        if new is None:
                            has_more = False
                        else:
                            pending.add(new)
                            await _send_batch(stream, first, new)
                    await stream.finish()
                    while pending:
                        _settle(await stream.receive(), pending, outcome, meter, tries)
            except MeasurandError as error:
                if not retries.may_reopen(error):
                    raise
                await calls.pause(tries, error)


async def _send_batch(
    stream: aio.Duplex[Bulk[files_pb2.PutFilesRequest], files_pb2.PutFilesResponse],
    first: files_pb2.PutFilesRequest,
    batch: Batch,
) -> None:
    head = files_pb2.PutFilesRequest(parent=first.parent, request_id=first.request_id, files=batch.files)
    first.request_id = ""  # the first message of a stream only
    await stream.send(Bulk(head, batch.data))


def _settle(
    answer: files_pb2.PutFilesResponse | None,
    pending: Pending,
    outcome: Outcome,
    meter: Meter,
    tries: retries.Tries,
) -> None:
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
        meter.add(sent.size)
        if error is not None:
            outcome.failed[names.path_of(sent.file.name)] = error
        else:
            outcome.files.append(File.of(result.file))


def _is_present(entry: Entry, file: File | None) -> bool:
    return file is not None and file.size == entry.size and mtime_of(file.attributes) == entry.mtime_ns
