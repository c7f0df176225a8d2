"""The files service: unpack, call core, pack. The streams that answer while they listen are in `file_streams`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from measurand.core.file_documents import request_of
from measurand.core.file_listing import FileListing
from measurand.core.files import Files
from measurand.core.limits import Limits
from measurand.core.locating import Locating
from measurand.core.means import Means
from measurand.core.names import ANY, parse_catalog, parse_dataset, parse_file, parse_upload
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.reading import ByteRange, Reading
from measurand.core.reading_many import ReadingMany
from measurand.core.small_files import SmallFile, SmallFiles
from measurand.core.uploading import Uploads
from measurand.core.uploads import upload_of
from measurand.services import file_streams, principal
from measurand.services.file_messages import digests_of, file_message, optional, spec_of, upload_message
from measurand.services.messages import keep_fields, mask_fields, span_of, time_message
from measurand.v1 import files_pb2, files_pb2_grpc
from measurand.wire.codec import pack, unpack
from measurand.wire.errors import InvalidArgument

__all__ = ["FileRooms", "FileService"]

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class FileRooms:
    """What of core the service calls."""

    files: Files
    listing: FileListing
    uploads: Uploads
    small_files: SmallFiles
    reading: Reading
    reading_many: ReadingMany
    locating: Locating


class FileService(files_pb2_grpc.FileServiceServicer):
    """Serves `measurand.v1.FileService`.

    Parameters
    ----------
    draining : asyncio.Event
        Set when the server is going away: running uploads then acknowledge what they have and end.
    """

    def __init__(self, rooms: FileRooms, means: Means, limits: Limits, draining: asyncio.Event) -> None:
        self._files = rooms.files
        self._listing = rooms.listing
        self._uploads = rooms.uploads
        self._small_files = rooms.small_files
        self._reading = rooms.reading
        self._reading_many = rooms.reading_many
        self._locating = rooms.locating
        self._means = means
        self._limits = limits
        self._draining = draining

    # ------------------------------------------------------------------------------------------------- small files

    async def PutFile(self, request: files_pb2.PutFileRequest, context: Context) -> files_pb2.File:
        head, data = unpack(request)
        spec, promised = spec_of(head.file), digests_of(head.checksums)
        made_by = request_of(head.request_id, spec, len(data), promised.crc32c)
        return file_message(await self._small_files.put(principal.current(), SmallFile(spec, data, promised, made_by)))

    async def PutFiles(  # type: ignore[override]  # reads and writes through the context, not as a generator
        self, request_iterator: AsyncIterator[files_pb2.PutFilesRequest], context: Context
    ) -> None:
        await file_streams.put_files(self._small_files, self._limits, principal.current(), context)

    # ----------------------------------------------------------------------------------------------------- uploads

    async def CreateUpload(self, request: files_pb2.CreateUploadRequest, context: Context) -> files_pb2.Upload:
        spec, digests = spec_of(request.file), digests_of(request.checksums)
        size = optional(request, "size", request.size)
        made_by = request_of(request.request_id, spec, -1 if size is None else size, digests.crc32c)
        upload = await self._uploads.create(principal.current(), spec, size, digests, made_by)
        return upload_message(upload, self._limits)

    async def GetUpload(self, request: files_pb2.GetUploadRequest, context: Context) -> files_pb2.Upload:
        upload = await self._uploads.get(principal.current(), parse_upload(request.name))
        return upload_message(upload, self._limits)

    async def ListUploads(
        self, request: files_pb2.ListUploadsRequest, context: Context
    ) -> files_pb2.ListUploadsResponse:
        is_dataset = "/datasets/" in request.parent
        parent = (parse_dataset if is_dataset else parse_catalog)(request.parent, field="parent")
        asked = ["ListUploads", request.parent]
        start = open_token(request.page_token, request=asked, values=0, now=self._means.now())
        limit = page_size(request.page_size, self._limits)
        found = await self._uploads.find(principal.current(), parent, start.after, limit + 1)
        page = found[:limit]
        return files_pb2.ListUploadsResponse(
            uploads=[upload_message(upload_of(item.document), self._limits) for item in page],
            next_page_token=(make_token(page[-1].position, request=asked, now=start.now) if len(found) > limit else ""),
        )

    async def WriteUpload(  # type: ignore[override]  # reads and writes through the context, not as a generator
        self, request_iterator: AsyncIterator[files_pb2.WriteUploadRequest], context: Context
    ) -> None:
        await file_streams.write_upload(self._uploads, self._limits, principal.current(), context, self._draining)

    async def WriteUploadChunk(
        self, request: files_pb2.WriteUploadChunkRequest, context: Context
    ) -> files_pb2.WriteUploadResponse:
        head, data = unpack(request)
        file_streams.check_data(data, self._limits)
        upload = await self._uploads.write_chunk(
            principal.current(),
            parse_upload(head.name),
            head.offset,
            data,
            optional(head, "crc32c", head.crc32c),
            optional(head, "expected_epoch", head.expected_epoch),
        )
        return files_pb2.WriteUploadResponse(
            persisted_size=upload.persisted_size,
            epoch=upload.epoch,
            chunk_bytes=self._limits.preferred_chunk_bytes,
            window_bytes=self._limits.window_bytes,
        )

    async def CommitUpload(self, request: files_pb2.CommitUploadRequest, context: Context) -> files_pb2.File:
        file = await self._uploads.ends.commit(
            principal.current(),
            parse_upload(request.name),
            optional(request, "size", request.size),
            digests_of(request.checksums),
            optional(request, "expected_epoch", request.expected_epoch),
        )
        return file_message(file)

    async def AbortUpload(self, request: files_pb2.AbortUploadRequest, context: Context) -> Empty:
        await self._uploads.ends.abort(principal.current(), parse_upload(request.name))
        return Empty()

    # ------------------------------------------------------------------------------------------------------- files

    async def GetFile(self, request: files_pb2.GetFileRequest, context: Context) -> files_pb2.File:
        return file_message(await self._files.get(principal.current(), parse_file(request.name), request.generation))

    async def ListFiles(self, request: files_pb2.ListFilesRequest, context: Context) -> files_pb2.ListFilesResponse:
        ways = [request.prefix, str(request.one_level), str(request.show_superseded)]
        asked = ["ListFiles", request.parent, *ways, request.file_name]
        start = open_token(request.page_token, request=asked, values=0, now=self._means.now())
        limit = page_size(request.page_size, self._limits)
        if request.file_name:
            if ways != ["", "False", "False"]:
                raise InvalidArgument(
                    "file_name goes with none of prefix, one_level and show_superseded", field="file_name"
                )
            catalog = request.parent.removesuffix(f"/datasets/{ANY}")
            parse = parse_dataset if catalog == request.parent else parse_catalog
            page = await self._listing.named(
                principal.current(), parse(catalog, field="parent"), request.file_name, after=start.after, limit=limit
            )
        else:
            page = await self._listing.page(
                principal.current(),
                parse_dataset(request.parent, field="parent"),
                prefix=request.prefix,
                one_level=request.one_level,
                show_superseded=request.show_superseded,
                after=start.after,
                limit=limit,
            )
        fields = mask_fields(request.read_mask, files_pb2.File.DESCRIPTOR)
        messages: list[files_pb2.File] = []
        size = 0
        for file in page.files:
            messages.append(file_message(file))
            keep_fields(messages[-1], fields)
            size += messages[-1].ByteSize()
            if size > self._limits.page_bytes:
                page = page.cut(max(1, len(messages) - 1))
                break
        return files_pb2.ListFilesResponse(
            files=messages[: len(page.files)],
            folders=page.folders,
            next_page_token=make_token(page.after, request=asked, now=start.now) if page.after else "",
        )

    async def CopyFile(self, request: files_pb2.CopyFileRequest, context: Context) -> files_pb2.File:
        spec, source = spec_of(request.file), parse_file(request.source, field="source")
        made_by = request_of(request.request_id, spec, request.source_generation)
        file = await self._files.copy(principal.current(), source, request.source_generation, spec, made_by)
        return file_message(file)

    async def DeleteFile(self, request: files_pb2.DeleteFileRequest, context: Context) -> Empty:
        await self._files.delete(
            principal.current(),
            parse_file(request.name),
            generation=request.generation,
            if_generation=optional(request, "if_generation", request.if_generation),
        )
        return Empty()

    # ----------------------------------------------------------------------------------------------------- reading

    async def ReadFile(
        self, request: files_pb2.ReadFileRequest, context: Context
    ) -> AsyncIterator[files_pb2.ReadFileResponse]:
        file, parts = await self._reading.open(
            principal.current(),
            parse_file(request.name),
            generation=request.generation,
            offset=request.offset,
            length=optional(request, "length", request.length),
            chunk_bytes=request.chunk_bytes,
        )
        header: files_pb2.File | None = file_message(file)
        async for part in parts:
            head = files_pb2.ReadFileResponse(file=header, offset=part.offset, crc32c=part.crc32c)
            yield pack(head, part.data)
            header = None
        if header is not None:
            yield pack(files_pb2.ReadFileResponse(file=header, offset=max(0, request.offset)))

    async def ReadFileRanges(
        self, request: files_pb2.ReadFileRangesRequest, context: Context
    ) -> AsyncIterator[files_pb2.ReadFileRangesResponse]:
        ranges = [ByteRange(item.offset, item.length) for item in request.ranges]
        file, parts = await self._reading.open_ranges(
            principal.current(), parse_file(request.name), generation=request.generation, ranges=ranges
        )
        header: files_pb2.File | None = file_message(file)
        async for item in parts:
            head = files_pb2.ReadFileRangesResponse(
                file=header,
                range_index=item.index,
                offset=item.part.offset,
                crc32c=item.part.crc32c,
                range_end=item.last,
            )
            yield pack(head, item.part.data)
            header = None
        if header is not None:
            yield pack(files_pb2.ReadFileRangesResponse(file=header))

    async def ReadFileChunk(
        self, request: files_pb2.ReadFileChunkRequest, context: Context
    ) -> files_pb2.ReadFileResponse:
        file, part = await self._reading.read(
            principal.current(),
            parse_file(request.name),
            generation=request.generation,
            offset=request.offset,
            length=request.length or self._limits.preferred_chunk_bytes,
        )
        crc32c = part.crc32c if len(part.data) else None
        head = files_pb2.ReadFileResponse(file=file_message(file), offset=part.offset, crc32c=crc32c)
        return pack(head, part.data)

    async def LocateFile(self, request: files_pb2.LocateFileRequest, context: Context) -> files_pb2.FileLocation:
        found = await self._locating.locate(
            principal.current(),
            parse_file(request.name),
            generation=request.generation,
            lifetime=span_of(request, "lifetime", "lifetime"),
        )
        spans = [files_pb2.FileSpan(url=span.url, size=span.size) for span in found.spans]
        return files_pb2.FileLocation(
            file=file_message(found.file), spans=spans, expire_time=time_message(found.expire_time)
        )

    async def ReadFiles(
        self, request: files_pb2.ReadFilesRequest, context: Context
    ) -> AsyncIterator[files_pb2.ReadFilesResponse]:
        async for response in file_streams.read_files(self._reading_many, self._limits, principal.current(), request):
            yield response
