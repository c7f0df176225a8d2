from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.client.errors import DataLoss
from measurand.client.replay import Chunk, Replay


def filled(*sizes: int, window: int = 100) -> Replay:
    replay = Replay(0, window)
    for size in sizes:
        replay.add(Chunk(replay.end, bytes(size), 0))
    return replay


def send_all(replay: Replay) -> list[int]:
    sent = []
    while (chunk := replay.next_unsent()) is not None:
        sent.append(chunk.offset)
        replay.note_sent()
    return sent


def test_no_more_than_the_window_is_unacknowledged() -> None:
    replay = filled(60)
    assert replay.has_room(40)
    assert not replay.has_room(41)
    send_all(replay)
    replay.acknowledge(60)
    assert replay.has_room(100)


def test_a_chunk_larger_than_the_window_goes_alone() -> None:
    assert Replay(0, 10).has_room(50)
    assert not filled(1, window=10).has_room(50)


def test_after_a_break_everything_not_safe_is_sent_again_in_order() -> None:
    replay = filled(10, 10, 10)
    assert send_all(replay) == [0, 10, 20]
    replay.rewind(15)
    assert send_all(replay) == [10, 20]
    assert replay.resent_bytes == 20


def test_a_server_that_has_more_than_it_said_is_believed() -> None:
    replay = filled(10, 10)
    send_all(replay)
    assert replay.rewind(20)
    assert replay.next_unsent() is None
    assert replay.is_safe


def test_a_server_that_has_less_than_it_said_has_lost_data() -> None:
    replay = filled(10, 10)
    send_all(replay)
    replay.acknowledge(20)
    with pytest.raises(DataLoss):
        replay.rewind(10)


@given(st.lists(st.tuples(st.sampled_from(["add", "ack", "break"]), st.integers(0, 30))))
def test_whatever_happens_a_server_gets_every_byte_and_little_twice(events: list[tuple[str, int]]) -> None:
    replay = Replay(0, 50)
    received = breaks = 0
    for event, number in events:
        if event == "add" and number and replay.has_room(number):
            replay.add(Chunk(replay.end, bytes(number), 0))
        elif event == "ack":
            replay.acknowledge(min(received, replay.persisted_size + number))
        elif event == "break":
            received = min(received, replay.persisted_size + number)
            replay.rewind(received)
            breaks += 1
        while (chunk := replay.next_unsent()) is not None:
            assert chunk.offset <= received, "a gap"
            received = max(received, chunk.end)
            replay.note_sent()
        assert replay.end - replay.persisted_size <= 50
    assert received == replay.end
    assert replay.resent_bytes <= breaks * 50
