from __future__ import annotations

import pytest

from measurand.client import errors
from measurand.client.methods import Class
from measurand.client.retries import Tries, may_reopen, may_repeat, pause_seconds


def from_transport(kind: type[errors.MeasurandError], word: str) -> errors.MeasurandError:
    return kind("…", transport=word)


@pytest.mark.parametrize(
    ("error", "read", "change"),
    [
        (errors.Unavailable("…"), True, True),
        (errors.ShuttingDown("…"), True, True),
        (errors.Busy("…", retry_seconds=1.0), True, True),
        (errors.Contention("…", retry_seconds=0.1), True, True),
        (errors.Conflict("…"), False, False),
        (errors.StoreFull("…"), False, False),
        (errors.NotFound("…"), False, False),
        (errors.Internal("…"), False, False),
        (from_transport(errors.Timeout, "DEADLINE_EXCEEDED"), False, True),
    ],
)
def test_what_is_repeated_follows_the_table(error: errors.MeasurandError, read: bool, change: bool) -> None:
    assert (may_repeat(error, Class.READ), may_repeat(error, Class.CHANGE)) == (read, change)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (from_transport(errors.Internal, "INTERNAL"), True),
        (from_transport(errors.Internal, "UNKNOWN"), True),
        (from_transport(errors.FeatureDisabled, "UNIMPLEMENTED"), False),
        (errors.ShuttingDown("…"), True),
        (errors.ChecksumMismatch("…"), True),
        (errors.Busy("…", retry_seconds=0.5), True),
        (errors.Internal("…"), False),
        (errors.WriterFenced("…"), False),
        (errors.StoreFull("…"), False),
        (errors.DataLoss("…"), False),
    ],
)
def test_a_stream_is_reopened_unless_the_server_has_said_otherwise(
    error: errors.MeasurandError, expected: bool
) -> None:
    assert may_reopen(error) is expected


def test_pauses_double_up_to_five_seconds_and_are_jittered() -> None:
    error = errors.Unavailable("…")
    assert [pause_seconds(number, error, lambda: 1.0) for number in (1, 2, 3, 8, 50)] == [0.05, 0.1, 0.2, 5.0, 5.0]
    assert pause_seconds(8, error, lambda: 0.0) == 0.0


def test_a_pause_is_never_shorter_than_the_server_asked_for() -> None:
    assert pause_seconds(1, errors.Busy("…", retry_seconds=2.0), lambda: 0.0) == 2.0


def test_an_address_where_nobody_ever_answered_is_tried_five_times() -> None:
    tries = Tries(lambda: 0.0, lambda: 0.5, 600.0)
    error = from_transport(errors.Unavailable, "UNAVAILABLE")
    pauses = [tries.next_pause(error, has_answered=False) for _ in range(5)]
    assert pauses.index(None) == 4


def test_a_server_that_has_answered_before_is_waited_for_until_patience_ends() -> None:
    now = 0.0
    tries = Tries(lambda: now, lambda: 1.0, 600.0)
    error = from_transport(errors.Unavailable, "UNAVAILABLE")
    while (pause := tries.next_pause(error, has_answered=True)) is not None:
        now += pause
    assert 590.0 < now <= 600.0


def test_progress_makes_patience_begin_anew() -> None:
    now = 0.0
    tries = Tries(lambda: now, lambda: 1.0, 10.0)
    now = 9.99
    assert tries.next_pause(errors.Unavailable("…"), has_answered=True) is None
    tries.progress()
    assert tries.next_pause(errors.Unavailable("…"), has_answered=True) == 0.05
