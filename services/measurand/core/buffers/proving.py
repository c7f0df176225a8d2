"""Holding stored segments to their sums: that of the table, which the buffer keeps, and those of the records in it."""

from __future__ import annotations

from measurand.core.blob_rules import closing
from measurand.core.buffers.documents import blob_key
from measurand.core.buffers.heads import Segment
from measurand.core.buffers.records import read_table
from measurand.core.means import Means
from measurand.core.ports import Blob, BlobStore
from measurand.wire.errors import DataLoss, NotFound

__all__ = ["fault_of"]


async def fault_of(blobs: BlobStore, means: Means, uid: str, segment: Segment) -> str:
    """Read a segment through, and return what is wrong with it; empty: nothing, or it is not there at all.

    No more of it is in memory than the table, one piece, and one that straddles two.
    """
    key = blob_key(uid, segment.ulid)
    table, head, number, passed, crc = None, bytearray(), 0, 0, 0
    try:
        async with closing(blobs.open(Blob(key, segment.size))) as pieces:
            async for piece in pieces:
                rest = memoryview(piece)
                if table is None:
                    missing = segment.table_size - len(head)
                    head += rest[:missing]
                    rest = rest[missing:]
                    if len(head) < segment.table_size:
                        continue
                    table = read_table(bytes(head), segment.table_crc, means.crc32c, key)
                while number < len(table.sizes):
                    part = rest[: table.sizes[number] - passed]
                    crc = await means.in_thread(means.crc32c, part, crc) if part else crc
                    passed, rest = passed + len(part), rest[len(part) :]
                    if passed < table.sizes[number]:
                        break
                    if crc != table.crcs[number]:
                        return f"record {segment.first + number} in {key} does not fit its crc32c"
                    number, passed, crc = number + 1, 0, 0
    except DataLoss as error:
        return error.message
    except NotFound:
        return ""
    return "" if number == segment.count else f"{key} has {number} of {segment.count} records"
