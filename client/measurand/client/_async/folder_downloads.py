"""Whole folders on their way down: small files by one stream, large ones as downloads beside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from measurand.client import methods, names, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.downloads import WRITE_BEHIND, download_to
from measurand.client._async.listing import list_files
from measurand.client._transport import aio
from measurand.client.arrivals import Arrivals
from measurand.client.progress import Meter, Progress
from measurand.client.results import DownloadResult, File
from measurand.v1 import common_pb2, files_pb2
from measurand.wire.errors import MeasurandError, Unavailable

__all__ = ["download_folder"]

STREAMED = 8 << 20
"""Files up to this size come by the one stream; larger ones by themselves, so that they can be resumed."""
NAMES_A_STREAM = 5000


async def download_folder(
    calls: AsyncCalls, dataset: str, folder: Path, *, prefix: str, bound: int, progress: Progress
) -> DownloadResult:
    """Write the files below a prefix into a folder; what is there already with its size and time is left alone."""
    files = [file async for file in list_files(calls, dataset, prefix=prefix)]
    await aio.in_thread(folder.mkdir, parents=True, exist_ok=True)
    arrivals = Arrivals(await aio.in_thread(folder.resolve), prefix)
    left = await aio.in_thread(arrivals.choose, files)
    streamed = [file for file in left if file.size <= STREAMED]
    with Meter(progress, folder.name or str(folder), sum(file.size for file in left)) as meter:

        async def fetch(part: Sequence[File]) -> None:
            if part[0].size > STREAMED:
                await _fetch_large(calls, dataset, part[0], arrivals, meter)
            else:
                await _fetch_streamed(calls, dataset, part, arrivals, meter)

        parts: list[Sequence[File]] = [
            streamed[start : start + NAMES_A_STREAM] for start in range(0, len(streamed), NAMES_A_STREAM)
        ]
        parts += [[file] for file in left if file.size > STREAMED]
        await aio.parallel(fetch, parts, bound=bound)
    return arrivals.result()


async def _fetch_large(calls: AsyncCalls, dataset: str, file: File, arrivals: Arrivals, meter: Meter) -> None:
    message = files_pb2.File(
        name=names.file_name(dataset, file.path),
        generation=file.generation,
        size=file.size,
        checksums=common_pb2.Checksums(blake3=file.blake3),
        attributes=file.attributes,
    )
    try:
        await download_to(calls, message, arrivals.path_of(file.path), meter)
    except (MeasurandError, OSError) as error:
        arrivals.note_failed(file.path, error.reason if isinstance(error, MeasurandError) else "LOCAL", str(error))
    else:
        arrivals.note_whole(file)


async def _fetch_streamed(
    calls: AsyncCalls, dataset: str, files: Sequence[File], arrivals: Arrivals, meter: Meter
) -> None:
    """Read many files by one stream after the other, until each has its result."""
    transport = await calls.transport()
    tries = calls.tries()
    left = {names.file_name(dataset, file.path): file for file in files}
    while left:
        request = files_pb2.ReadFilesRequest(names=left)
        try:
            # One thread writes what the stream brings, while it brings more.
            async with aio.Behind(WRITE_BEHIND) as disk:
                landing = arrivals.begin(left, meter)
                try:
                    async with aclosing(transport.stream(methods.READ_FILES, request)) as answers:
                        async for head, data in answers:
                            tries.progress()
                            await disk.put(landing.take, head.frames, data)
                            if head.HasField("summary"):
                                await disk.put(landing.end)
                finally:
                    await disk.drain()
                    await aio.in_thread(landing.close)
            if not landing.has_ended:
                raise Unavailable(f"{dataset}: the stream ended before all files had come", transport="OK")
        except MeasurandError as error:
            if not retries.may_reopen(error):
                raise
            await calls.pause(tries, error)
