from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from measurand.client.frames import FixedFrames, GrowingFrames, Job, Prefix, Window, flat_of, place_of


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def window_over(frames: GrowingFrames | FixedFrames, *, most: int = 1000, clock: Clock | None = None) -> Window:
    return Window(frames, frame_bytes=1, most_bytes=most, visible_every=0.1, now=clock or Clock())


def whole_jobs(window: Window) -> list[Job]:
    jobs = []
    while (job := window.next_whole()) is not None:
        jobs.append(job)
    return jobs


def test_rows_in_order_make_whole_blocks() -> None:
    window = window_over(GrowingFrames(3))
    for row in range(7):
        window.take((row,), f"frame {row}")
    first, second = whole_jobs(window)
    assert (first.block, first.rows, first.is_whole) == ((0,), 3, True)
    assert second.frames == {(0,): "frame 3", (1,): "frame 4", (2,): "frame 5"}
    assert window.next_partial() == Job((2,), {(0,): "frame 6"}, [7], is_whole=True, rows=7)
    assert window.next_partial() is None


def test_what_lies_behind_a_missing_row_waits_for_it() -> None:
    window = window_over(GrowingFrames(2))
    for row in (1, 2, 3):
        window.take((row,), row)
    assert window.next_whole() is None
    assert window.next_partial() is None
    window.take((0,), 0)
    assert [job.rows for job in whole_jobs(window)] == [2, 4]


def test_rows_that_never_come_can_be_given_up() -> None:
    frames = GrowingFrames(4)
    window = window_over(frames)
    window.take((2,), 2)
    frames.close_gaps()
    assert frames.missing == [0, 1]
    job = window.next_partial()
    assert job is not None
    assert (job.frames, job.rows) == ({(2,): 2}, 3)


def test_a_block_that_is_still_filling_is_written_again_with_what_it_has() -> None:
    window = window_over(GrowingFrames(3, 4))
    window.frames.restore(3, "old")  # type: ignore[attr-defined]  # it is one that grows
    window.take((4,), "new")
    job = window.next_partial()
    assert job is not None
    assert (job.frames, job.rows, job.tickets) == ({(0,): "old", (1,): "new"}, 5, [1])
    window.take((5,), "newest")
    (job,) = whole_jobs(window)
    assert (job.frames, job.tickets) == ({(0,): "old", (1,): "new", (2,): "newest"}, [2])


def test_a_row_that_was_sent_is_laid_over_what_the_server_has() -> None:
    window = window_over(GrowingFrames(2))
    for row in range(4):
        window.take((row,), row)
    whole_jobs(window)
    window.take((1,), "again")
    assert window.next_partial() == Job((0,), {(1,): "again"}, [5], is_whole=False)


def test_of_two_frames_for_one_place_the_later_wins_and_both_are_durable_with_it() -> None:
    window = window_over(FixedFrames((4,), (2,)))
    window.take((0,), "first")
    window.take((0,), "second")
    window.take((1,), "other")
    (job,) = whole_jobs(window)
    assert job.frames == {(0,): "second", (1,): "other"}
    window.note_sent(job, 9)
    assert window.note_safe(8) == []
    assert window.note_safe(9) == [(0,), (0,), (1,)]
    assert window.open_frames == 0


def test_the_last_block_of_a_fixed_array_may_have_fewer_frames() -> None:
    window = window_over(FixedFrames((2, 5), (1, 3)))
    for at in (3, 4):
        window.take((1, at), at)
    (job,) = whole_jobs(window)
    assert (job.block, job.frames) == ((1, 1), {(0, 0): 3, (0, 1): 4})


def test_no_more_than_the_window_is_taken_but_the_row_that_all_wait_for() -> None:
    window = window_over(GrowingFrames(2), most=3)
    for row in (1, 2, 3):
        window.take((row,), row)
    assert not window.has_room((4,))
    assert window.has_room((0,))
    window.take((0,), 0)
    for number, job in enumerate(whole_jobs(window)):
        window.note_sent(job, number)
    window.note_safe(1)
    assert window.has_room((4,))


def test_rows_in_order_wait_for_room_like_all_others() -> None:
    window = window_over(GrowingFrames(2), most=3)
    for row in range(3):
        assert window.has_room((row,))
        window.take((row,), row)
    assert not window.has_room((3,))


def test_a_frame_is_due_soon_after_it_came_and_large_blocks_are_not_rewritten_all_the_time() -> None:
    clock = Clock()
    window = Window(GrowingFrames(100), frame_bytes=1 << 20, most_bytes=1 << 30, visible_every=0.1, now=clock)
    assert window.due is None
    dues: list[float | None] = []
    for row, taken, written in ((0, 0.0, 0.1), (1, 0.1, 5.0), (2, 20.0, 21.0)):
        clock.seconds = taken
        window.take((row,), row)
        dues.append(window.due)
        clock.seconds = written
        window.next_partial()
        dues.append(window.due)
    assert dues == [0.1, None, 1.1, None, 20.1, None]  # one frame of 1 MiB was written at 0.1


@given(st.permutations(range(12)), st.integers(1, 5))
def test_whatever_the_order_rows_are_shown_in_order_and_once(rows: list[int], size: int) -> None:
    window = window_over(GrowingFrames(size))
    shown = 0
    for row in rows:
        window.take((row,), row)
        for job in [*whole_jobs(window), *filter(None, [window.next_partial()])]:
            assert shown < job.rows
            for (within,), frame in job.frames.items():
                assert frame == job.block[0] * size + within
            shown = job.rows
            window.note_sent(job, shown)
    assert shown == 12
    assert sorted(place for (place,) in window.note_safe(12)) == list(range(12))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_places_are_numbered_in_c_order(lengths: Sequence[int], data: st.DataObject) -> None:
    flat = data.draw(st.integers(0, math.prod(lengths) - 1))
    place = place_of(flat, lengths)
    assert flat_of(place, lengths) == flat
    assert all(0 <= at < length for at, length in zip(place, lengths, strict=True))


@given(st.permutations(range(10)))
def test_a_prefix_ends_before_the_first_that_has_not_come(numbers: list[int]) -> None:
    prefix = Prefix()
    for count, number in enumerate(numbers, 1):
        assert number not in prefix
        prefix.add(number)
        come = set(numbers[:count])
        assert prefix.end == next(at for at in range(11) if at not in come)
        assert all((at in prefix) == (at in come) for at in range(10))
