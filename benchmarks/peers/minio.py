"""minio-py, straight to the S3 server that the product stands on."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from benchmarks.data import CHUNK_BYTES, callers, crc32c, random_bytes
from benchmarks.harness import Turn
from benchmarks.stores import BUCKET, s3_access
from minio import Minio


def connect() -> Minio:
    """Return a client of the S3 server."""
    access = s3_access()
    return Minio(
        access["endpoint"].removeprefix("http://"),
        access_key=access["key"],
        secret_key=access["secret"],
        region="us-east-1",
        secure=False,
    )


@contextmanager
def put(size: int) -> Iterator[Turn]:
    """Put `size` bytes, whose CRC-32C is taken on the way as a caller who keeps measurements would, in GB/s."""
    client, data, prefix = connect(), random_bytes(size), uuid4().hex

    def turn() -> float:
        begin = time.perf_counter()
        client.put_object(BUCKET, f"{prefix}/{uuid4().hex}", io.BytesIO(data), size)
        crc32c(data, 0)
        return size / (time.perf_counter() - begin) / 1e9

    yield turn


@contextmanager
def get(size: int) -> Iterator[Turn]:
    """Read `size` bytes into a buffer that is there and take their CRC-32C, in GB/s."""
    client, data, name = connect(), random_bytes(size), uuid4().hex
    client.put_object(BUCKET, name, io.BytesIO(data), size)
    target = memoryview(bytearray(size))

    def turn() -> float:
        begin = time.perf_counter()
        with client.get_object(BUCKET, name) as answer:
            position = 0
            for chunk in answer.stream(CHUNK_BYTES):
                target[position : position + len(chunk)] = chunk
                position += len(chunk)
        crc32c(target, 0)
        return size / (time.perf_counter() - begin) / 1e9

    yield turn
    assert target == data


@contextmanager
def put_many(count: int, size: int, threads: int) -> Iterator[Turn]:
    """Put `count` objects of `size` bytes from `threads` callers, in objects a second."""
    data = random_bytes(size)
    with callers(threads) as each:
        client = connect()

        def turn() -> float:
            prefix = uuid4().hex
            return count / each(
                count, lambda index: client.put_object(BUCKET, f"{prefix}/{index}", io.BytesIO(data), size)
            )

        yield turn


@contextmanager
def get_many(count: int, size: int, threads: int) -> Iterator[Turn]:
    """Read `count` objects of `size` bytes from `threads` callers, in objects a second."""
    data, prefix = random_bytes(size), uuid4().hex
    with callers(threads) as each:
        client = connect()
        each(count, lambda index: client.put_object(BUCKET, f"{prefix}/{index}", io.BytesIO(data), size))

        def read(index: int) -> None:
            with client.get_object(BUCKET, f"{prefix}/{index}") as answer:
                assert answer.read() == data

        yield lambda: count / each(count, read)
