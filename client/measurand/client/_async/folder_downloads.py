"""Whole folders on their way down: small files by one stream, large ones as downloads beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from measurand.client import names
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.downloads import WRITE_BEHIND, download_to
from measurand.client._async.listing import list_files
from measurand.client._async.read_streams import NAMES_A_STREAM, STREAMED, read_streams
from measurand.client._transport import aio
from measurand.client.arrivals import Arrivals, Landing
from measurand.client.progress import Meter, Progress
from measurand.client.results import DownloadResult, File
from measurand.v1 import common_pb2, files_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["Target", "download_folder"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go.

    Parameters
    ----------
    folder : Path
        The folder.
    prefix : str
        A folder of the dataset; its files alone are fetched, and it is taken off their paths.
    overwrite : bool
        Also in the place of files that are there and have other bytes.
    """

    folder: Path
    prefix: str
    overwrite: bool


async def download_folder(
    calls: AsyncCalls, dataset: str, target: Target, *, bound: int, progress: Progress
) -> DownloadResult:
    """Write the files below a prefix into a folder; what is there already with its size and time is left alone."""
    folder, prefix = target.folder, f"{target.prefix.rstrip('/')}/" if target.prefix else ""
    files = [file async for file in list_files(calls, dataset, prefix=prefix)]
    await aio.in_thread(folder.mkdir, parents=True, exist_ok=True)
    arrivals = Arrivals(await aio.in_thread(folder.resolve), prefix, overwrite=target.overwrite)
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
    left = {names.file_name(dataset, file.path): file for file in files}
    await read_streams(calls, dataset, left, lambda: _Disk(arrivals.begin(left, meter)))


class _Disk:
    """One thread writes what the stream brings, while it brings more."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._behind = aio.Behind(WRITE_BEHIND)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._behind:
            try:
                await self._behind.drain()
            finally:
                await aio.in_thread(self._landing.close)

    async def take(self, frames: Sequence[files_pb2.FileFrame], data: memoryview) -> None:
        await self._behind.put(self._landing.take, frames, data)
