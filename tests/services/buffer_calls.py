"""Calls of the buffers service as tests make them: over a real channel, with the buffer `live` of the catalog `lab`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio
from tests.services.file_calls import crc

from measurand.v1 import buffers_pb2, buffers_pb2_grpc, common_pb2
from measurand.wire.codec import pack, unpack

LAB = "catalogs/lab"
LIVE = f"{LAB}/buffers/live"
PART = 2 * 1024 * 1024

if TYPE_CHECKING:
    Stub = buffers_pb2_grpc.BufferServiceAsyncStub


async def make(stub: Stub, buffer_id: str = "live", **fields: Any) -> buffers_pb2.Buffer:
    """Make a buffer."""
    request = buffers_pb2.CreateBufferRequest(
        parent=LAB,
        buffer_id=buffer_id,
        buffer=buffers_pb2.Buffer(**fields),
        document_form=common_pb2.DOCUMENT_FORM_JSON,
    )
    return await stub.CreateBuffer(request)


async def get(stub: Stub, name: str = LIVE) -> buffers_pb2.Buffer:
    return await stub.GetBuffer(buffers_pb2.GetBufferRequest(name=name, document_form=common_pb2.DOCUMENT_FORM_JSON))


def record(data: bytes = b"", **header: Any) -> buffers_pb2.Record:
    return buffers_pb2.Record(header=buffers_pb2.RecordHeader(**header), data=data)


async def append(stub: Stub, *records: bytes | buffers_pb2.Record, **more: Any) -> buffers_pb2.AppendResponse:
    """Append records in one call."""
    whole = [one if isinstance(one, buffers_pb2.Record) else record(one) for one in records]
    return await stub.Append(buffers_pb2.AppendRequest(**{"name": LIVE, "records": whole, **more}))


async def read(stub: Stub, name: str = LIVE, **more: Any) -> list[buffers_pb2.Record]:
    """Return records in one call."""
    request = buffers_pb2.ReadRecordsRequest(name=name, document_form=common_pb2.DOCUMENT_FORM_JSON, **more)
    return list((await stub.ReadRecords(request)).records)


async def tail(stub: Stub, name: str = LIVE, *, most: int = 0, **more: Any) -> list[buffers_pb2.Record]:
    """Return records from a tail, the large ones put together; without `most`, up to the end of what is there."""
    request = buffers_pb2.TailBufferRequest(
        name=name, max_records=most, stop_at_end=not most, document_form=common_pb2.DOCUMENT_FORM_JSON, **more
    )
    found: list[buffers_pb2.Record] = []
    async for message in stub.TailBuffer(request):
        for one in cut(message):
            if found and found[-1].header.sequence == one.header.sequence:
                assert unpack(message).head.part_offset == len(found[-1].data)
                found[-1].data += one.data
            else:
                found.append(one)
    return found


def cut(message: Any) -> list[buffers_pb2.Record]:
    """Return the records of one message of a tail or for a consumer; of a large record the part."""
    head, data = unpack(message)
    records, offset = [], 0
    if len(data):
        assert head.crc32c == crc(bytes(data))
    for header in head.headers:
        end = offset + header.size if len(head.headers) > 1 else len(data)
        records.append(buffers_pb2.Record(header=header, data=bytes(data[offset:end])))
        offset = end
    assert offset == len(data)
    return records


def headers(*sizes: int) -> list[buffers_pb2.RecordHeader]:
    return [buffers_pb2.RecordHeader(size=size) for size in sizes]


class Writer:
    """One AppendRecords stream.

    Parameters
    ----------
    opening : fields
        Of the first message, beside its records.
    """

    def __init__(self, stub: Stub, name: str = LIVE, **opening: Any) -> None:
        self.call = stub.AppendRecords()
        self._opening = {"name": name, **opening}
        self.acknowledged = 0
        self.runs: list[tuple[int, int, int, int]] = []

    async def open(self) -> buffers_pb2.AppendRecordsResponse:
        """Open without a record, and return the first answer."""
        await self.send()
        answer = await self._read()
        assert answer is not None
        return answer

    async def send(self, *records: bytes, **more: Any) -> None:
        """Send whole records in one message."""
        data = b"".join(records)
        fields = {"headers": headers(*map(len, records)), **self._opening, **more}
        if data:
            fields.setdefault("crc32c", crc(data))
        self._opening = {}
        await self.call.write(pack(buffers_pb2.AppendRecordsRequest(**fields), data))

    async def send_large(self, data: bytes, *, size: int | None = None, **more: Any) -> None:
        """Send one record in parts."""
        whole = buffers_pb2.RecordHeader(size=len(data) if size is None else size, **more.pop("header", {}))
        for offset in range(0, len(data), PART):
            piece = data[offset : offset + PART]
            fields = {**self._opening, "part_offset": offset, "crc32c": crc(piece), **more}
            self._opening = {}
            await self.call.write(pack(buffers_pb2.AppendRecordsRequest(headers=[whole], **fields), piece))

    async def until(self, number: int) -> None:
        """Read answers until a record is acknowledged."""
        while self.acknowledged < number:
            if await self._read() is None:
                raise AssertionError(f"the stream ended at {self.acknowledged}")

    async def end(self) -> int:
        """Half-close, read to the end, and return how far all is acknowledged."""
        await self.call.done_writing()
        await self.drained()
        return self.acknowledged

    async def drained(self) -> None:
        while await self._read() is not None:
            pass

    async def _read(self) -> buffers_pb2.AppendRecordsResponse | None:
        answer: Any = await self.call.read()
        if answer is grpc.aio.EOF:
            return None
        self.acknowledged = answer.acknowledged_writer_sequence
        self.runs += [(run.first_writer_sequence, run.first_sequence, run.count, run.window) for run in answer.runs]
        return answer  # type: ignore[no-any-return]


async def rest_of(call: Any) -> list[Any]:
    """Return the messages of a stream up to its end."""
    messages = []
    while (message := await call.read()) is not grpc.aio.EOF:
        messages.append(message)
    return messages


def data_of(records: Sequence[buffers_pb2.Record]) -> list[bytes]:
    return [one.data for one in records]
