"""What one process makes of the calls of a container."""

from __future__ import annotations

import pytest

from measurand.core.containers.figures import SMALL_BYTES, Figures
from measurand.wire.errors import StoreFull, Unavailable

AWAY = Unavailable("it does not answer")


def test_nothing_is_known_of_a_container_that_nobody_has_called() -> None:
    figures = Figures()
    assert (figures.usual("read"), figures.latency("write"), figures.bandwidth("read")) == (0, 0, 0)
    assert figures.failure_rate(0) == 0
    assert not figures.is_avoided(0) and not figures.is_full(0)


def test_the_usual_time_is_that_of_95_in_100_of_the_last_hundred() -> None:
    figures = Figures()
    for number in range(1, 101):
        figures.note(number, "read", 1000, number / 1000, None)
    assert figures.usual("read") == pytest.approx(0.096, abs=0.002)
    assert figures.usual("write") == 0
    for number in range(200):
        figures.note(number, "read", 1000, 0.001, None)
    assert figures.usual("read") == pytest.approx(0.001)


def test_small_calls_tell_how_long_a_call_takes_and_large_ones_how_fast_bytes_go() -> None:
    figures = Figures()
    for seconds in (0.001, 0.002, 0.9):
        figures.note(0, "write", SMALL_BYTES, seconds, None)
    for seconds in (1.0, 2.0, 4.0):
        figures.note(0, "write", 100_000_000, seconds, None)
    assert figures.latency("write") == 0.002
    assert figures.bandwidth("write") == 50_000_000


def test_the_share_of_failures_is_that_of_the_last_ten_minutes() -> None:
    figures = Figures()
    for second in range(10):
        figures.note(second, "read", 0, 0.1, AWAY if second < 5 else None)
    assert figures.failure_rate(10) == 0.5
    assert figures.failure_rate(604.5) == 0
    assert figures.failure_rate(10_000) == 0


def test_after_failures_in_a_row_it_is_left_alone_for_longer_up_to_a_minute() -> None:
    figures, now, pauses = Figures(), 0.0, []
    for _ in range(7):
        figures.note(now, "read", 0, 0.1, AWAY)
        began = now
        while figures.is_avoided(now):
            now += 1
        pauses.append(now - began)
    assert pauses == [5, 10, 20, 40, 60, 60, 60]
    figures.note(now, "read", 0, 0.1, AWAY)
    figures.note(now, "write", 1000, 0.1, None)
    assert not figures.is_avoided(now)
    figures.note(now, "read", 0, 0.1, AWAY)
    assert not figures.is_avoided(now + 5)


def test_one_without_room_is_not_taken_for_ill() -> None:
    figures = Figures()
    figures.note(0, "write", 0, 0.1, StoreFull("no room"))
    assert figures.is_full(29) and not figures.is_full(30) and not figures.is_avoided(1)


def test_reads_are_counted_and_writes_are_not() -> None:
    figures = Figures()
    figures.note(0, "read", 10, 0.1, None)
    figures.note(0, "write", 10, 0.1, None)
    figures.note(0, "read", 10, 0.1, AWAY)
    assert figures.reads == 1
