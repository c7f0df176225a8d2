from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.client.chunk_replay import ChunkReplay
from measurand.client.errors import DataLoss


def sent_by(replay: ChunkReplay) -> list[tuple[int, int]]:
    """Send all there is to send; returns the numbers and what the stream calls them."""
    sent = []
    while (step := replay.next_unsent()) is not None:
        sent.append((step.number, replay.sequence(step)))
        replay.note_sent()
    return sent


def test_a_plain_writer_forgets_what_is_acknowledged() -> None:
    replay = ChunkReplay(100, is_appender=False)
    assert [replay.add_chunk((number,), bytes(10)) for number in range(3)] == [1, 2, 3]
    assert sent_by(replay) == [(1, 1), (2, 2), (3, 3)]
    assert replay.acknowledge(2, 0)
    assert (replay.safe, replay.is_safe) == (2, False)
    assert not replay.acknowledge(2, 0)
    replay.rewind(0)
    assert sent_by(replay) == [(3, 1)]
    replay.acknowledge(1, 0)
    assert replay.is_safe


def test_no_more_than_the_window_is_unacknowledged_but_one_chunk_always_may() -> None:
    replay = ChunkReplay(10, is_appender=False)
    assert replay.has_room(50)
    replay.add_chunk((0,), bytes(8))
    assert replay.has_room(2)
    assert not replay.has_room(3)
    sent_by(replay)
    replay.acknowledge(1, 0)
    assert replay.has_room(50)


def test_an_appender_keeps_chunks_until_their_rows_are_seen() -> None:
    replay = ChunkReplay(10, is_appender=True)
    replay.add_chunk((0,), bytes(8))
    sent_by(replay)
    assert not replay.acknowledge(1, 0)
    assert replay.has_room(10)  # the server has it
    replay.add_step(5)
    replay.rewind(0)  # and its next stream has dropped it
    assert sent_by(replay) == [(1, 1), (2, 2)]
    assert replay.acknowledge(2, 5)
    assert replay.is_safe


def test_rows_that_are_seen_after_a_break_need_not_be_sent_again() -> None:
    replay = ChunkReplay(100, is_appender=True)
    for rows in (3, 6):
        replay.add_chunk((rows,), b"x")
        replay.add_step(rows)
    sent_by(replay)
    assert replay.rewind(3)
    assert replay.safe == 2
    assert sent_by(replay) == [(3, 1), (4, 2)]


def test_a_chunk_that_shows_no_new_rows_is_sent_again_after_a_break() -> None:
    replay = ChunkReplay(100, is_appender=True)
    replay.rewind(6)
    replay.add_chunk((0,), b"x")
    replay.add_step()
    sent_by(replay)
    assert not replay.rewind(6)
    assert [number for number, _ in sent_by(replay)] == [1, 2]


def test_rows_that_are_gone_are_lost() -> None:
    replay = ChunkReplay(100, is_appender=True)
    replay.rewind(6)
    with pytest.raises(DataLoss, match="6"):
        replay.rewind(5)


@given(
    st.lists(st.tuples(st.sampled_from(["chunk", "rows", "acknowledge", "break"]), st.integers(0, 8))), st.booleans()
)
def test_whatever_happens_the_server_gets_every_step(events: list[tuple[str, int]], is_appender: bool) -> None:
    replay = ChunkReplay(1000, is_appender=is_appender)
    stored: set[int] = set()
    arrived: list[tuple[int, int, int]] = []
    told: dict[int, int] = {}
    rows = wanted = 0
    for event, amount in [*events, ("rows", 1), ("acknowledge", 8)]:
        if event == "chunk":
            told[replay.add_chunk((amount,), b"x")] = -1
        elif event == "rows":
            wanted += amount
            told[replay.add_step(wanted)] = wanted
        elif event == "break":
            done = arrived[: amount * len(arrived) // 8]  # the rest never arrived
            rows = max([rows, *(told[number] for number, _, _ in done)]) if is_appender else 0
            arrived.clear()
            if is_appender:  # the next opening drops what nobody sees
                stored = {number for number in stored if number <= replay.safe}
                shown = [number for number, _, _ in done if told[number] >= 0 and told[number] <= rows]
                stored |= {number for number, _, _ in done if shown and number <= shown[-1]}
            replay.rewind(rows)
        while (step := replay.next_unsent()) is not None:
            arrived.append((step.number, replay.sequence(step), step.size))
            replay.note_sent()
        assert [sequence for _, sequence, _ in arrived] == list(range(1, len(arrived) + 1))
        if event == "acknowledge" and arrived:
            count = amount * len(arrived) // 8
            stored |= {number for number, _, _ in arrived[:count]}
            rows = max([rows, *(told[number] for number, _, _ in arrived[:count])]) if is_appender else 0
            replay.acknowledge(count, rows)
        assert set(range(1, replay.safe + 1)) <= stored
    assert replay.is_safe
