"""CRC-32C of every kind of buffer, and of two parts put together."""

from __future__ import annotations

import sys

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.server.crc32c import combine_crc32c, make_crc32c

crc32c = make_crc32c()


def test_it_is_castagnoli() -> None:
    assert crc32c(b"123456789", 0) == 0xE3069283


@pytest.mark.parametrize("size", [0, 1, 100, 32 * 1024 - 1, 32 * 1024, 1024 * 1024 + 7])
def test_every_kind_of_buffer_gives_what_bytes_give(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    expected = google_crc32c.value(data)
    for buffer in (data, bytearray(data), memoryview(data), memoryview(bytearray(data)), memoryview(b"xyz" + data)[3:]):
        assert crc32c(buffer, 0) == expected


def test_it_goes_on_from_an_earlier_one() -> None:
    data = bytes(100_000)
    assert crc32c(memoryview(data)[40_000:], crc32c(data[:40_000], 0)) == crc32c(data, 0)


def test_a_buffer_is_let_go_afterwards() -> None:
    data = bytearray(100_000)
    crc32c(memoryview(data), 0)
    data.append(1)  # a held buffer would make this fail
    before = sys.getrefcount(data)
    for _ in range(100):
        crc32c(data, 0)
    assert sys.getrefcount(data) == before


def test_a_buffer_in_pieces_is_refused() -> None:
    with pytest.raises(BufferError):
        crc32c(memoryview(bytes(200_000))[::2], 0)


@given(first=st.binary(max_size=300), second=st.binary(max_size=5000))
def test_two_parts_give_the_whole(first: bytes, second: bytes) -> None:
    assert combine_crc32c(crc32c(first, 0), crc32c(second, 0), len(second)) == crc32c(first + second, 0)


def test_parts_may_be_far_larger_than_memory() -> None:
    whole = 0
    part = bytes(1024 * 1024)
    for _ in range(64):
        whole = crc32c(part, whole)
    half = 0
    for _ in range(32):
        half = crc32c(part, half)
    assert combine_crc32c(half, half, 32 * len(part)) == whole
    # 2^45 zero bytes behind a sum, as one step and as two halves
    assert combine_crc32c(whole, 0, 2**45) == combine_crc32c(combine_crc32c(whole, 0, 2**44), 0, 2**44)
