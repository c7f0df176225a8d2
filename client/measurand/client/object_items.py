"""What goes into a dataset of objects: keys, bytes, and batches of both."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from measurand.client.batches import Batch, cut
from measurand.client.hashing import Bytes, crc32c
from measurand.client.names import Ulids
from measurand.v1 import common_pb2, files_pb2
from measurand.wire.errors import InvalidArgument, NameInvalid
from measurand.wire.paths import check_path

__all__ = ["Item", "bytes_of", "items_of", "object_name", "small_batches"]


@dataclass(slots=True)
class Item:
    """One object of a batch on its way in.

    Parameters
    ----------
    spec : FileSpec
        What it shall be.
    data : bytes-like
        Its bytes.
    """

    spec: files_pb2.FileSpec
    data: Bytes


def object_name(dataset: str, key: object) -> str:
    """Return the resource name of an object, or raise NameInvalid: the rules for paths of files hold for keys."""
    if not isinstance(key, str):
        raise NameInvalid(f"the key is {key!r}; give a str", field="key", name=repr(key))
    return f"{dataset}/files/{check_path(key, field='key', what='key')}"


def bytes_of(data: Any) -> Bytes:
    """Return the bytes of whatever has a buffer, in C order; copied only where they do not lie side by side."""
    if isinstance(data, bytes):
        return data
    try:
        view = memoryview(data)
    except (TypeError, ValueError):
        raise InvalidArgument(
            f"a {type(data).__name__} has no buffer; give bytes, or an array of numbers", field="data"
        ) from None
    if not view.nbytes:
        return b""
    try:
        return view.cast("B")
    except (TypeError, ValueError):  # strided, or of records
        return view.tobytes()


def items_of(items: Mapping[str, Any] | Iterable[Any], ulids: Ulids) -> Iterator[tuple[Any, Any]]:
    """Yield key and bytes of each item: of a mapping, of pairs, or of bytes alone, for which a key is made."""
    if isinstance(items, Mapping):
        yield from items.items()
        return
    for item in items:
        if isinstance(item, tuple) and len(item) == 2:
            key, data = item
            yield (ulids.make() if key is None else key), data
        else:
            yield ulids.make(), item


def small_batches(items: Mapping[int, Item]) -> Generator[Batch, None, None]:
    """Yield items, by their place in the whole batch, in batches of a message each."""
    yield from cut(_messages(items))


def _messages(items: Mapping[int, Item]) -> Iterator[tuple[files_pb2.SmallFile, Bytes]]:
    for index, item in items.items():
        checksums = common_pb2.Checksums(crc32c=crc32c(item.data))
        size = len(item.data)
        yield files_pb2.SmallFile(index=index, file=item.spec, size=size, checksums=checksums), item.data
