"""The bulk codec: messages that end in `bytes data = 15`, cut and joined without copying the data (protocol.md, 13).

Wire-compatible: a peer with plain protobuf notices nothing. Nothing generated is edited;
channels and servers are wrapped:

    stub = FileServiceStub(codec_channel(channel))                    # grpc.Channel or grpc.aio.Channel
    add_FileServiceServicer_to_server(servicer, codec_server(server))  # grpc.Server or grpc.aio.Server

Through such a channel or server every message that has `data` is a `Bulk`: the tuple (head, data), where head is the
protobuf message without its data and data any buffer when sent, a memoryview when received. The stubs know only the
message types, so two functions cross over without a cost and keep the type checker on board:

    await call.write(pack(WriteUploadRequest(offset=0), chunk))       # what a stub takes, or a servicer answers
    head, data = unpack(request)                                      # what a servicer got, or a call answered

Plain messages are sent as they are where no data is meant, and `unpack` takes plain messages too, so code that uses the
two also runs over a channel without the codec. Messages that have no `data` are never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

__all__ = [
    "DATA_FIELD",
    "Bulk",
    "CodecChannel",
    "CodecServer",
    "codec_channel",
    "codec_server",
    "decode",
    "encode",
    "is_bulk",
    "pack",
    "unpack",
]

DATA_FIELD = 15
"""The number of `data`; by the rule of `common.proto` no field of the message has a larger one."""

DATA_TAG = 0x7A  # field 15, length-delimited
CONTINUED = 0x80  # a byte of a varint that more bytes follow

# Channels, servers and handlers are Any here: this room does not know gRPC, and takes what has the right methods.
M = TypeVar("M", bound=Message)
Channel = TypeVar("Channel")
Server = TypeVar("Server")


class Bulk(NamedTuple, Generic[M]):
    """A message and the bytes that go with it.

    Parameters
    ----------
    head : Message
        The message without its `data`.
    data : buffer
        The bytes. A received one is a memoryview, which keeps the whole message alive as long as a slice of it lives.
    """

    head: M
    data: bytes | bytearray | memoryview


def pack(head: M, data: bytes | bytearray | memoryview = b"") -> M:
    """Return the message with its data, in the type that stubs and servicers speak: in truth a `Bulk`."""
    return cast("M", Bulk(head, data))


def unpack(message: M) -> Bulk[M]:
    """Return head and data of what a stub or a servicer was handed; a plain message is taken apart."""
    given: Any = message
    return given if isinstance(given, Bulk) else Bulk(message, memoryview(given.data))


def encode(message: Bulk[M] | Message) -> bytes:
    """Return the bytes of a message on the wire, the same that protobuf would make; the data is copied once."""
    if not isinstance(message, Bulk):
        return message.SerializeToString()
    head, data = message
    size = data.nbytes if isinstance(data, memoryview) else memoryview(data).nbytes
    if not size:  # protobuf leaves an empty field out
        return head.SerializeToString()
    return b"".join((head.SerializeToString(), b"\x7a", varint(size), data))


def decode(raw: bytes, kind: type[M]) -> Bulk[M]:
    """Return head and data of a message from the wire; whatever is unusual about it, the outcome is protobuf's own.

    Raises
    ------
    google.protobuf.message.DecodeError
        As protobuf would.
    """
    found = locate(raw)
    if found is None:  # not as we write it: in another order, repeated, or with fields that this release does not know
        message = kind.FromString(raw)
        data = cast("Any", message).data
        message.ClearField("data")
        return Bulk(message, memoryview(data))
    end, start = found
    return Bulk(kind.FromString(raw[:end]), memoryview(raw)[start:])


def locate(raw: bytes) -> tuple[int, int] | None:
    """Return where the head ends and where the data begins, or None unless the data reaches exactly to the end."""
    position, size = 0, len(raw)
    try:
        while position < size:
            tag = raw[position]
            if tag == DATA_TAG:
                length, start = read_varint(raw, position + 1)
                return (position, start) if start + length == size else None
            wire_type = tag & 7
            if tag >= CONTINUED or tag < 8:  # a field above 15, or none at all
                return None
            if wire_type == 2:
                length, position = read_varint(raw, position + 1)
                position += length
            elif wire_type == 0:
                position += 1
                while raw[position] >= CONTINUED:
                    position += 1
                position += 1
            elif wire_type == 5:
                position += 5
            elif wire_type == 1:
                position += 9
            else:  # groups
                return None
    except IndexError:  # cut short
        return None
    return (size, size) if position == size else None


def read_varint(raw: bytes, position: int) -> tuple[int, int]:
    """Return the varint at the position and where it ends. IndexError: it is cut short, or too long for a length."""
    value = raw[position]
    if value < CONTINUED:
        return value, position + 1
    value &= 0x7F
    for shift in (7, 14, 21, 28):
        position += 1
        byte = raw[position]
        value |= (byte & 0x7F) << shift
        if byte < CONTINUED:
            return value, position + 1
    raise IndexError(position)


def varint(value: int) -> bytes:
    """Return the value as protobuf writes lengths."""
    out = bytearray()
    while value >= CONTINUED:
        out.append(value & 0x7F | CONTINUED)
        value >>= 7
    out.append(value)
    return bytes(out)


def is_bulk(descriptor: Descriptor) -> bool:
    """Tell whether messages of this kind carry bulk data."""
    field = descriptor.fields_by_number.get(DATA_FIELD)
    return field is not None and field.name == "data" and field.type == FieldDescriptor.TYPE_BYTES


def decoder(descriptor: Descriptor) -> Callable[[bytes], Bulk[Message]]:
    """Return the deserializer of one kind of bulk message."""
    kind = message_factory.GetMessageClass(descriptor)

    def deserialize(raw: bytes) -> Bulk[Message]:
        return decode(raw, kind)

    return deserialize


def find_method(path: str) -> tuple[Descriptor, Descriptor] | None:
    """Return what the method of a path such as `/measurand.v1.FileService/PutFile` takes and answers, if known."""
    service, _, method = path.lstrip("/").rpartition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    except KeyError:  # of some other contract
        return None
    return found.input_type, found.output_type


class CodecChannel:
    """A channel whose bulk messages are `Bulk` tuples; give it to a stub. All else goes to the channel inside."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"codec({self.inner!r})"

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return self.inner.unary_unary(method, *self.swap(method, args, options), **options)

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return self.inner.unary_stream(method, *self.swap(method, args, options), **options)

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return self.inner.stream_unary(method, *self.swap(method, args, options), **options)

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return self.inner.stream_stream(method, *self.swap(method, args, options), **options)

    def swap(self, method: str, given: Sequence[Any], options: dict[str, Any]) -> tuple[Any, ...]:
        """Return the serializer and deserializer to use, taken out of the arguments or ours in their place."""
        serializer, deserializer = (*given, None, None)[:2]
        serializer = options.pop("request_serializer", serializer)
        deserializer = options.pop("response_deserializer", deserializer)
        found = find_method(method)
        if found is not None:
            request, response = found
            serializer = encode if is_bulk(request) else serializer
            deserializer = decoder(response) if is_bulk(response) else deserializer
        return (serializer, deserializer, *given[2:])


class CodecServer:
    """What generated adders need of a server: it hands them on with the bulk codec put in."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"codec({self.inner!r})"

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self.inner.add_generic_rpc_handlers([GenericHandler(handler) for handler in handlers])

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        changed = {name: with_codec(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self.inner.add_registered_method_handlers(service, changed)


class GenericHandler:
    """Hands out the handlers of another, with the codec put in."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.changed: dict[str, Any] = {}

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method
        if path not in self.changed:
            handler = self.inner.service(handler_call_details)
            if handler is None:  # not remembered: callers may ask for any path
                return None
            self.changed[path] = with_codec(path, handler)
        return self.changed[path]


def with_codec(path: str, handler: Any) -> Any:
    """Return the handler of a method, which takes and answers `Bulk` where its messages have data."""
    found = find_method(path)
    if found is None:
        return handler
    request, response = found
    changes: dict[str, Any] = {}
    if is_bulk(request):
        changes["request_deserializer"] = decoder(request)
    if is_bulk(response):
        changes["response_serializer"] = encode
    return handler._replace(**changes) if changes else handler


def codec_channel(channel: Channel) -> Channel:
    """Return the channel with the bulk codec, in the type that generated stubs take: in truth a `CodecChannel`."""
    return cast("Channel", CodecChannel(channel))


def codec_server(server: Server) -> Server:
    """Return the server with the bulk codec, in the type that generated adders take: in truth a `CodecServer`."""
    return cast("Server", CodecServer(server))
