"""The bulk codec against protobuf's own, message by message."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from measurand.v1 import files_pb2
from measurand.wire.codec import Bulk, decode, encode, is_bulk, locate, pack, unpack

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
crcs = st.none() | st.integers(0, 2**32 - 1)
int64s = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300)


def files() -> st.SearchStrategy[files_pb2.File]:
    attributes = st.dictionaries(texts, texts, max_size=1)  # protobuf writes larger maps in any order
    return st.builds(files_pb2.File, name=texts, generation=int64s, size=int64s, attributes=attributes)


def heads() -> st.SearchStrategy[Message]:
    """Bulk messages of several kinds, without their data."""
    specs = st.builds(files_pb2.FileSpec, name=texts, if_generation=st.none() | int64s)
    small = st.builds(files_pb2.SmallFile, index=int64s, file=specs, size=st.integers(0, 2**20))
    frames = st.builds(files_pb2.FileFrame, name=texts, file=st.none() | files(), crc32c=crcs)
    return st.one_of(
        st.builds(files_pb2.WriteUploadRequest, name=texts, offset=int64s, crc32c=crcs, flush=st.booleans()),
        st.builds(files_pb2.PutFileRequest, file=st.none() | specs, request_id=texts),
        st.builds(files_pb2.PutFilesRequest, parent=texts, files=st.lists(small, max_size=5), request_id=texts),
        st.builds(files_pb2.ReadFileResponse, file=st.none() | files(), offset=int64s, crc32c=crcs),
        st.builds(files_pb2.ReadFilesResponse, frames=st.lists(frames, max_size=5)),
    )


def data() -> st.SearchStrategy[bytes]:
    """Bytes around the sizes at which their length takes another byte."""
    sizes = st.sampled_from([0, 1, 127, 128, 129, 16_383, 16_384, 70_000])
    return st.binary(max_size=40) | sizes.map(lambda size: bytes(range(256)) * (size // 256) + b"x" * (size % 256))


def whole(head: Message, content: bytes) -> Message:
    """Return the message as protobuf knows it."""
    message = type(head)()
    message.CopyFrom(head)
    if content:
        message.data = content  # type: ignore[attr-defined]  # every head is of a bulk message
    return message


@settings(max_examples=500, deadline=None)
@given(heads(), data(), st.sampled_from([bytes, bytearray, memoryview]))
def test_encoding_gives_the_bytes_of_protobuf(head: Message, content: bytes, buffer: type) -> None:
    assert encode(Bulk(head, buffer(content))) == whole(head, content).SerializeToString()


@settings(max_examples=500, deadline=None)
@given(heads(), data())
def test_decoding_gives_what_protobuf_gives(head: Message, content: bytes) -> None:
    raw = whole(head, content).SerializeToString()
    decoded = decode(raw, type(head))
    assert decoded.head == head
    assert bytes(decoded.data) == content
    assert isinstance(decoded.data, memoryview)


def field(number: int, wire_type: int, payload: bytes) -> bytes:
    return bytes([number << 3 | wire_type]) + payload


ODD_PARTS = st.sampled_from(
    [
        field(15, 2, b"\x03abc"),
        field(15, 2, b"\x00"),
        field(15, 2, b"\x83\x00abc"),  # the length in two bytes where one would do
        field(1, 2, b"\x01n"),
        field(2, 0, b"\x05"),
        field(2, 0, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        field(3, 5, b"\x01\x02\x03\x04"),
        field(5, 0, b"\x01"),
        field(7, 0, b"\x01"),  # 7 to 14 are unknown in this message
        field(8, 1, b"12345678"),
        field(9, 2, b"\x02zz"),
        field(10, 3, b"") + field(10, 4, b""),  # a group
        b"\xfa\x01\x01x",  # field 31
        b"\xfa\x00\x03abc",  # field 15, its tag in two bytes
        field(15, 0, b"\x07"),  # field 15 of another type
        field(2, 2, b"\x01x"),  # a known field of another type
        field(15, 2, b"\x09abc"),  # cut short
        field(1, 2, b"\xff"),
        b"\x00",
        b"\x7a",
    ]
)


@settings(max_examples=2000, deadline=None)
@given(st.lists(ODD_PARTS, max_size=6).map(b"".join) | st.binary(max_size=30))
@example(b"")
@example(b"\x7a\x00")
@example(b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
def test_decoding_the_unusual_gives_what_protobuf_gives(raw: bytes) -> None:
    try:
        message = files_pb2.WriteUploadRequest.FromString(raw)
    except DecodeError:
        with pytest.raises(DecodeError):
            decode(raw, files_pb2.WriteUploadRequest)
        return
    head, content = decode(raw, files_pb2.WriteUploadRequest)
    assert bytes(content) == message.data
    message.ClearField("data")
    assert head == message
    assert head.SerializeToString() == message.SerializeToString(), "unknown fields are kept"


def test_decoding_copies_no_data() -> None:
    raw = files_pb2.ReadFileResponse(offset=1, data=b"x" * 2**20).SerializeToString()
    assert locate(raw) == (2, 2 + 1 + 3)
    decoded = decode(raw, files_pb2.ReadFileResponse)
    assert isinstance(decoded.data, memoryview)
    assert decoded.data.obj is raw


def test_any_buffer_can_be_sent() -> None:
    grid = memoryview(bytes(range(8))).cast("H", shape=[2, 2])
    raw = encode(Bulk(files_pb2.ReadFileResponse(offset=3), grid))
    assert files_pb2.ReadFileResponse.FromString(raw) == files_pb2.ReadFileResponse(offset=3, data=bytes(range(8)))


def test_plain_messages_are_sent_and_taken_apart_too() -> None:
    plain = files_pb2.ReadFileResponse(offset=3, data=b"abc")
    assert encode(plain) == plain.SerializeToString()
    assert bytes(unpack(plain).data) == b"abc"
    packed = pack(files_pb2.ReadFileResponse(offset=3), b"abc")
    assert unpack(packed).head.offset == 3
    assert unpack(packed).data == b"abc"


def test_bulk_messages_are_found_by_their_data() -> None:
    pool = descriptor_pool.Default()
    service = pool.FindServiceByName("measurand.v1.FileService")
    kinds = {kind for method in service.methods for kind in (method.input_type, method.output_type)}
    found = {kind.name for kind in kinds if is_bulk(kind)}
    assert found == {
        "PutFileRequest", "PutFilesRequest", "WriteUploadRequest", "WriteUploadChunkRequest",
        "ReadFileResponse", "ReadFileRangesResponse", "ReadFilesResponse",
    }  # fmt: skip
    for kind in kinds:
        assert ("data" in message_factory.GetMessageClass(kind).DESCRIPTOR.fields_by_name) == is_bulk(kind)
