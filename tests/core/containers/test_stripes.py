"""Where bytes lie in parts, beside a count stripe by stripe."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from measurand.core.containers.stripes import HEADER_BYTES, Layout, piece_bytes


@st.composite
def stripes(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    """Number of data parts, unit, and the size of each stripe."""
    data_parts, unit = draw(st.integers(1, 5)), draw(st.integers(1, 10))
    whole = data_parts * unit
    sizes = draw(st.lists(st.one_of(st.just(whole), st.integers(1, whole)), max_size=12))
    return data_parts, unit, sizes


@given(stripes(), st.data())
def test_every_byte_is_found_in_its_stripe(made: tuple[int, int, list[int]], data: st.DataObject) -> None:
    data_parts, unit, sizes = made
    stored = sum(sizes)
    # The last stripe may hold more than counts.
    size = data.draw(st.integers(stored - sizes[-1] + 1, stored)) if sizes else 0
    shorts = [(number, bytes_) for number, bytes_ in enumerate(sizes) if bytes_ != data_parts * unit]
    if sizes and size < stored and (len(sizes) - 1, sizes[-1]) not in shorts:
        shorts.append((len(sizes) - 1, sizes[-1]))
    layout = Layout(size, data_parts, unit, shorts)

    offset = frame_offset = 0
    for number, (stripe, bytes_) in enumerate(zip(layout.stripes(), sizes, strict=True)):
        assert (stripe.number, stripe.offset, stripe.size) == (number, offset, bytes_)
        assert (stripe.frame_offset, stripe.piece_bytes) == (frame_offset, piece_bytes(bytes_, data_parts))
        for position in range(offset, min(offset + bytes_, size)):
            assert layout.at(position) == stripe
        offset, frame_offset = offset + bytes_, stripe.frame_end
        assert stripe.frame_end == stripe.frame_offset + HEADER_BYTES + stripe.piece_bytes
    assert layout.part_bytes == frame_offset
    if size:
        begin = data.draw(st.integers(0, size - 1))
        length = data.draw(st.integers(1, size - begin))
        found = list(layout.stripes(begin, length))
        assert found[0].offset <= begin < found[0].end
        assert found[-1].offset < begin + length <= found[-1].end
        assert [stripe.number for stripe in found] == list(range(found[0].number, found[-1].number + 1))
