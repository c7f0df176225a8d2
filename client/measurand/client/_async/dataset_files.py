"""The files of a dataset: sent, read, listed, removed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, overload

from measurand.client import methods, names
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.downloads import download_to, read_on, read_part
from measurand.client._async.file_readers import AsyncFileReader
from measurand.client._async.file_writers import AsyncFileWriter
from measurand.client._async.folder_downloads import Target, download_folder
from measurand.client._async.folder_uploads import Folder, upload_folder
from measurand.client._async.listing import list_files
from measurand.client._async.uploads import SMALL, file_spec, put_small, send_source
from measurand.client._transport import aio
from measurand.client.local import attributes_of
from measurand.client.progress import Meter, Progress
from measurand.client.results import DownloadResult, File, FileLocation, UploadResult
from measurand.client.sources import FileSource, MemorySource, source_of
from measurand.client.storage import Storage
from measurand.v1 import files_pb2
from measurand.wire.errors import FailedPrecondition, InvalidArgument

__all__ = ["AsyncDatasetFiles"]

PARALLEL = 4


class AsyncDatasetFiles:
    """The part of a dataset's handle that concerns its files.

    Paths have `/` between folders on every system. A file never changes: storing another one under its path makes a
    new generation, and who reads the old one reads on undisturbed.
    """

    def __init__(self, calls: AsyncCalls, name: str) -> None:
        self._calls = calls
        self.name = name
        """The resource name, `catalogs/{catalog}/datasets/{dataset}`."""

    async def upload(
        self,
        source: Any,
        path: str | None = None,
        *,
        content_type: str = "",
        attributes: Mapping[str, str] | None = None,
        if_generation: int | None = None,
        storage: str | Storage | None = None,
        progress: Progress = False,
    ) -> File:
        """Store a file; it is whole, durable and verified when this returns, and nobody sees it before.

        Goes on by itself over lost connections and restarted servers. A program that is killed and run again goes on
        where it was, if the file is unchanged.

        Parameters
        ----------
        source : path, bytes-like or binary file
            What to store; a file is read from where it stands.
        path : str, optional
            Its path in the dataset; the name of the source unless given.
        content_type : str
            A media type; guessed from the path unless given.
        attributes : mapping, optional
            What to keep with it; `mtime` and `mode` are added for a source that is a path.
        if_generation : int, optional
            Only if the newest generation is this one; 0: only if there is no such file.
        storage : str or Storage, optional
            Where its bytes are kept and how often. Unless given: as the dataset says.
        progress : bool or callable
            True shows a bar; a callable gets (bytes done, bytes in all).

        Raises
        ------
        GenerationMismatch
            GENERATION_MISMATCH: see `if_generation`.
        WriterFenced
            WRITER_FENCED: another run of the program has taken the upload over.
        FailedPrecondition
            STATE_WRONG: the source changed while it was sent.
        """
        opened = await aio.in_thread(source_of, source)
        given = getattr(source, "name", None) if not isinstance(opened, FileSource) else opened.path
        if path is None and not isinstance(given, (str, os.PathLike)):
            raise InvalidArgument("bytes have no name of their own; give the path to store them under", field="path")
        path = path or Path(str(given)).name
        kept = attributes_of(opened.mtime_ns, opened.mode) if isinstance(opened, FileSource) else {}
        spec = file_spec(
            names.file_name(self.name, path),
            content_type=content_type,
            attributes={**kept, **(attributes or {})},
            if_generation=if_generation,
            storage=storage,
        )
        with Meter(progress, path, opened.size) as meter:
            return File.of(await send_source(self._calls, spec, opened, meter))

    async def upload_dir(
        self,
        folder: str | os.PathLike[str],
        prefix: str = "",
        *,
        storage: str | Storage | None = None,
        errors: Literal["raise", "report"] = "raise",
        parallel: int = PARALLEL,
        progress: Progress = False,
    ) -> UploadResult:
        """Store the files of a folder and of the folders in it, with their relative paths, times and modes.

        Run again it goes on where it was: what the dataset has already with the same size and time is left alone.
        Empty folders are not kept.

        Parameters
        ----------
        folder : path
            What to store.
        prefix : str
            Stands before the paths, such as `raw/`.
        errors : str
            "raise": the first error is raised after all other files were sent. "report": it stands in the result.
        parallel : int
            So many large files at a time.
        storage, progress
            As in `upload`.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: a link in the folder leads out of it. Nothing was sent.
        """
        given = Folder(Path(folder), f"{prefix.rstrip('/')}/" if prefix else "", storage)
        result = await upload_folder(self._calls, self.name, given, bound=parallel, progress=progress)
        if errors == "raise":
            for error in result.failed.values():
                raise error
        return result

    async def write_bytes(
        self, path: str, data: Any, *, if_generation: int | None = None, storage: str | Storage | None = None
    ) -> File:
        """Store bytes as a file; durable when this returns. Parameters and errors: as `upload`."""
        source = MemorySource(data)
        spec = file_spec(names.file_name(self.name, path), if_generation=if_generation, storage=storage)
        if source.size is not None and source.size <= SMALL:
            return File.of(await put_small(self._calls, spec, source.read_whole()))
        return File.of(await send_source(self._calls, spec, source, Meter(False, path, source.size)))

    async def read_bytes(self, path: str, *, offset: int = 0, length: int | None = None, generation: int = 0) -> bytes:
        """Return the bytes of a file, or a range of them; each piece is proven by its CRC-32C.

        Parameters
        ----------
        offset : int
            Where to begin; negative: so many bytes before the end.
        length : int, optional
            How many; to the end unless given.
        generation : int
            0: the newest.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such file.
        OutOfRange
            BEYOND_END: the range begins behind the end.
        """
        if length is not None and length <= 0:
            return b""
        name = names.file_name(self.name, path)
        first = SMALL if length is None else min(length, SMALL)
        file, head = await read_part(self._calls, name, generation=generation, offset=offset, length=first)
        start = offset if offset >= 0 else max(0, file.size + offset)
        end = file.size if length is None else min(file.size, start + length)
        if start + len(head) >= end:
            return bytes(head)
        pieces = [head]
        async with aclosing(
            read_on(self._calls, name, generation=file.generation, offset=start + len(head), end=end)
        ) as rest:
            pieces.extend([piece async for piece in rest])
        return b"".join(pieces)

    async def read_into(self, path: str, buffer: Any, *, offset: int = 0, generation: int = 0) -> int:
        """Read a file into a buffer that is there already, such as an array; the fastest way.

        Parameters
        ----------
        buffer : writable buffer
            Contiguous; it is filled from its beginning.
        offset, generation : int
            As in `read_bytes`.

        Returns
        -------
        int
            How many bytes it got; fewer than it holds only where the file ends.
        """
        view = memoryview(buffer).cast("B")
        name = names.file_name(self.name, path)
        file = await self._calls.unary(methods.GET_FILE, files_pb2.GetFileRequest(name=name, generation=generation))
        start = offset if offset >= 0 else max(0, file.size + offset)
        end = min(file.size, start + len(view))
        filled = 0
        async with aclosing(read_on(self._calls, name, generation=file.generation, offset=start, end=end)) as pieces:
            async for piece in pieces:
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
        return filled

    async def download(
        self,
        path: str,
        to: str | os.PathLike[str] | None = None,
        *,
        generation: int = 0,
        progress: Progress = False,
    ) -> Path:
        """Write a file of the dataset to this machine; whole, verified and durable when this returns.

        A part that an earlier, interrupted run has left is taken up. Time and mode are restored.

        Parameters
        ----------
        path : str
            Its path in the dataset.
        to : path, optional
            Where to; a folder gets it under its own name. The working folder unless given.
        generation : int
            0: the newest.
        progress : bool or callable
            As in `upload`.

        Returns
        -------
        Path
            Where it is now.
        """
        name = names.file_name(self.name, path)
        file = await self._calls.unary(methods.GET_FILE, files_pb2.GetFileRequest(name=name, generation=generation))
        target = Path(to) if to is not None else Path()
        if await aio.in_thread(target.is_dir):
            target /= path.rpartition("/")[2]
        with Meter(progress, path, file.size) as meter:
            await download_to(self._calls, file, target, meter)
        return target

    async def download_dir(
        self,
        to: str | os.PathLike[str],
        prefix: str = "",
        *,
        overwrite: bool = False,
        missing: Literal["raise", "report"] = "raise",
        parallel: int = PARALLEL,
        progress: Progress = False,
    ) -> DownloadResult:
        """Write the files of the dataset, or those below a prefix, into a folder, with their times and modes.

        Run again it goes on where it was: what is there already with the same size and time is left alone. What
        would lead out of the folder on any system is not written, nor in the place of files with other bytes.

        Parameters
        ----------
        to : path
            The folder; it is made if need be.
        prefix : str
            A folder of the dataset, such as `raw/`; it is taken off the paths.
        overwrite : bool
            Write in the place of files with other bytes, too.
        missing : str
            "raise": an error tells of what could not be written, after all else was. "report": the result does.
        parallel, progress
            As in `upload_dir`.

        Raises
        ------
        FailedPrecondition
            STATE_WRONG: some files could not be written; the text says why.
        """
        target = Target(Path(to), prefix, overwrite)
        result = await download_folder(self._calls, self.name, target, bound=parallel, progress=progress)
        if result.failed and missing == "raise":
            first = "; ".join(f"{path}: {reason}" for path, reason in list(result.failed.items())[:5])
            raise FailedPrecondition(
                f"{len(result.failed)} files of {self.name} were not written: {first}; "
                'mend this, or use missing="report"',
                resource=self.name,
                state="incomplete",
            )
        return result

    @overload
    async def open(self, path: str, mode: Literal["rb"] = "rb", *, generation: int = 0) -> AsyncFileReader: ...

    @overload
    async def open(self, path: str, mode: Literal["wb"], *, generation: int = 0) -> AsyncFileWriter: ...

    async def open(
        self, path: str, mode: Literal["rb", "wb"] = "rb", *, generation: int = 0
    ) -> AsyncFileReader | AsyncFileWriter:
        """Return a file object.

        Parameters
        ----------
        mode : str
            "rb": with seek, read, readinto, readline; one generation, whatever is stored meanwhile. "wb": the file
            appears when it is closed.
        generation : int
            What to read; 0: the newest.
        """
        name = names.file_name(self.name, path)
        if mode == "wb":
            return AsyncFileWriter(self._calls, file_spec(name))
        if mode != "rb":
            raise InvalidArgument(f"mode={mode!r} is neither 'rb' nor 'wb'", field="mode")
        file, head = await read_part(self._calls, name, generation=generation, length=64 << 10)
        return AsyncFileReader(self._calls, file, head)

    async def files(self, prefix: str = "", *, show_superseded: bool = False) -> list[File]:
        """Return what is known about the files whose paths begin so, by path.

        Parameters
        ----------
        show_superseded : bool
            Also older generations that can still be read.
        """
        found = list_files(self._calls, self.name, prefix=prefix, show_superseded=show_superseded)
        return [file async for file in found]

    async def stat(self, path: str, *, generation: int = 0) -> File:
        """Return what is known about one file. NotFound: there is none."""
        request = files_pb2.GetFileRequest(name=names.file_name(self.name, path), generation=generation)
        return File.of(await self._calls.unary(methods.GET_FILE, request))

    async def locate(self, path: str, *, generation: int = 0, lifetime: float | None = None) -> FileLocation:
        """Return URLs by which whoever can reach the store reads a file past the server, for a while.

        Parameters
        ----------
        lifetime : float, optional
            For how many seconds they shall be good; at most, and unless given, as long as the operator has set.

        Raises
        ------
        FeatureDisabled
            The server gives none.
        FailedPrecondition
            The file is small and lies in one object with others.
        """
        request = files_pb2.LocateFileRequest(name=names.file_name(self.name, path), generation=generation)
        if lifetime is not None:
            request.lifetime.FromTimedelta(timedelta(seconds=lifetime))
        return FileLocation.of(await self._calls.unary(methods.LOCATE_FILE, request))

    async def delete_file(self, path: str, *, generation: int = 0, if_generation: int | None = None) -> None:
        """Remove a file, or one generation of it; removing what is gone changes nothing."""
        request = files_pb2.DeleteFileRequest(name=names.file_name(self.name, path), generation=generation)
        if if_generation is not None:
            request.if_generation = if_generation
        await self._calls.unary(methods.DELETE_FILE, request)

    async def copy_file(
        self,
        source: str,
        path: str,
        *,
        dataset: AsyncDatasetFiles | None = None,
        generation: int = 0,
        if_generation: int | None = None,
    ) -> File:
        """Make a file of this dataset from another, without moving its bytes.

        Parameters
        ----------
        source : str
            The path to copy from.
        path : str
            The path to make.
        dataset : AsyncDataset, optional
            Where the source lies; here unless given.
        generation : int
            What to copy; 0: the newest.
        if_generation : int, optional
            As in `upload`.
        """
        request = files_pb2.CopyFileRequest(
            source=names.file_name((dataset or self).name, source),
            source_generation=generation,
            file=file_spec(names.file_name(self.name, path), if_generation=if_generation),
            request_id=names.request_id(),
        )
        return File.of(await self._calls.unary(methods.COPY_FILE, request))
