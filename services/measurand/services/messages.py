"""What all adapters need to turn messages into values and back: times, spans and field masks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from measurand.core.times import microseconds
from measurand.wire.errors import InvalidArgument, TooLarge

__all__ = ["check_fits", "keep_fields", "mask_fields", "span_of", "time_message", "time_of"]


def time_message(time: datetime | None) -> Timestamp | None:
    """Return a time as a message, None as nothing set."""
    if time is None:
        return None
    seconds, fraction = divmod(microseconds(time), 1_000_000)
    return Timestamp(seconds=seconds, nanos=fraction * 1000)


def time_of(message: Message, field: str, path: str) -> datetime | None:
    """Return the time in a field, to the microsecond; None if it is not set. Raises InvalidArgument naming `path`."""
    if not message.HasField(field):
        return None
    try:
        time: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"{path}: the time does not lie within the years 1 to 9999", field=path) from error
    return time


def span_of(message: Message, field: str, path: str) -> timedelta | None:
    """Return the span in a field; None if it is not set. Raises InvalidArgument naming `path`."""
    if not message.HasField(field):
        return None
    duration: Duration = getattr(message, field)
    try:
        return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1000)
    except OverflowError as error:
        raise InvalidArgument(f"{path}: the span is far too long", field=path) from error


def mask_fields(mask: FieldMask, of: Descriptor, *, field: str = "read_mask") -> frozenset[str] | None:
    """Return the fields that a mask names, None for an empty mask. Raises InvalidArgument for those there are none."""
    if not mask.paths:
        return None
    unknown = sorted(set(mask.paths) - set(of.fields_by_name))
    if unknown:
        raise InvalidArgument(
            f"{field}: {of.name} has no field {', '.join(map(repr, unknown))}; it has {', '.join(of.fields_by_name)}",
            field=field,
        )
    return frozenset(mask.paths)


def keep_fields(message: Message, fields: frozenset[str] | None) -> None:
    """Clear all fields of a message but these. None: keep all."""
    if fields is not None:
        for field, _ in message.ListFields():
            if field.name not in fields:
                message.ClearField(field.name)


def check_fits(message: Message, most: int) -> int:
    """Return the size of an answer, or raise TooLarge: some forms of a document are larger than it was when it came."""
    size = message.ByteSize()
    if size > most:
        raise TooLarge(
            f"the answer has {size} bytes, the most is {most}; ask for DOCUMENT_FORM_JSON or for some metadata_paths",
            limit=most,
            actual=size,
        )
    return size
