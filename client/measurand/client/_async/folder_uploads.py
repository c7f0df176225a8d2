"""Whole folders on their way up: small files many to a message, large ones as uploads beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from measurand.client import names, problems
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.listing import list_files
from measurand.client._async.put_streams import put_batches
from measurand.client._async.uploads import SMALL, file_spec, send_source
from measurand.client._transport import aio
from measurand.client.batches import read_batches
from measurand.client.local import Entry, attributes_of, mtime_of, scan
from measurand.client.progress import Meter, Progress
from measurand.client.results import File, UploadResult
from measurand.client.sources import FileSource
from measurand.client.storage import Storage
from measurand.v1 import files_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["Folder", "upload_folder"]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine, and how it is stored.

    Parameters
    ----------
    prefix : str
        Stands before the paths.
    """

    path: Path
    prefix: str
    storage: str | Storage | None


@dataclass(slots=True)
class Outcome:
    """What became of the files so far."""

    files: list[File] = field(default_factory=list)
    failed: dict[str, MeasurandError] = field(default_factory=dict)


async def upload_folder(
    calls: AsyncCalls, dataset: str, folder: Folder, *, bound: int, progress: Progress
) -> UploadResult:
    """Store the files of a folder; what is there already with its size and time is left alone."""
    entries, prefix = await aio.in_thread(scan, folder.path), folder.prefix
    present = {file.path: file async for file in list_files(calls, dataset, prefix=prefix)} if entries else {}
    skipped = [entry for entry in entries if _is_present(entry, present.get(prefix + entry.name))]
    known = {entry.name for entry in skipped}
    left = [entry for entry in entries if entry.name not in known]
    small = [entry for entry in left if entry.size <= SMALL]
    outcome = Outcome()
    with Meter(progress, folder.path.name or str(folder.path), sum(entry.size for entry in left)) as meter:

        async def send(part: list[Entry] | Entry) -> None:
            if isinstance(part, list):
                await _send_small(calls, dataset, folder, part, outcome, meter)
            else:
                await _send_large(calls, dataset, folder, part, outcome, meter)

        parts: list[list[Entry] | Entry] = [small] if small else []
        parts += [entry for entry in left if entry.size > SMALL]
        await aio.parallel(send, parts, bound=bound)
    outcome.files.sort(key=lambda file: file.path)
    return UploadResult(tuple(outcome.files), tuple(prefix + entry.name for entry in skipped), outcome.failed)


async def _send_large(
    calls: AsyncCalls, dataset: str, folder: Folder, entry: Entry, outcome: Outcome, meter: Meter
) -> None:
    path, attributes = folder.prefix + entry.name, attributes_of(entry.mtime_ns, entry.mode)
    try:
        spec = file_spec(names.file_name(dataset, path), attributes=attributes, storage=folder.storage)
        source = await aio.in_thread(FileSource, entry.path)
        outcome.files.append(File.of(await send_source(calls, spec, source, meter)))
    except (MeasurandError, OSError) as error:
        outcome.failed[path] = problems.said_of(path, error)


async def _send_small(
    calls: AsyncCalls, dataset: str, folder: Folder, entries: list[Entry], outcome: Outcome, meter: Meter
) -> None:
    def settle(sent: files_pb2.SmallFile, result: files_pb2.File | MeasurandError) -> None:
        meter.add(sent.size)
        if isinstance(result, MeasurandError):
            outcome.failed[names.path_of(sent.file.name)] = result
        else:
            outcome.files.append(File.of(result))

    batches = read_batches(dataset, folder.prefix, entries, outcome.failed, folder.storage)
    await put_batches(calls, dataset, batches, settle)


def _is_present(entry: Entry, file: File | None) -> bool:
    return file is not None and file.size == entry.size and mtime_of(file.attributes) == entry.mtime_ns
