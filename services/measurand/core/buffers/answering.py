"""What those are told who have handed in records, once it is certain."""

from __future__ import annotations

from collections.abc import Sequence

from measurand.core.buffers.lanes import Group, Item, Lane
from measurand.core.buffers.queues import Queues
from measurand.wire.errors import MeasurandError

__all__ = ["answer_all", "end", "fail", "settle"]


def answer_all(queues: Queues, lane: Lane, groups: Sequence[Group]) -> None:
    """Tell everybody in these groups what was decided, and take the groups off the lane."""
    for group in groups:
        assert group.decision is not None
        for item, answer in zip(group.items, group.decision.answers, strict=True):
            if isinstance(answer, MeasurandError):
                fail(queues, [item], answer)
            elif not item.answer.done():
                item.answer.set_result(answer)
        end(queues, lane, group, None)


def end(queues: Queues, lane: Lane, group: Group, error: Exception | None) -> None:
    """Take a group off the lane, whose items are answered or have failed."""
    if error is not None:
        fail(queues, group.items, error)
    settle(queues, group.items)  # the others
    lane.groups.remove(group)


def fail(queues: Queues, items: Sequence[Item], error: Exception) -> None:
    """Tell everybody what went wrong; nothing more of their streams is taken."""
    for item in items:
        stream = item.submission.stream
        if stream is not None and stream.error is None:
            stream.error = error
        if not item.answer.done():  # a caller that has gone has cancelled it
            item.answer.set_exception(error)
    settle(queues, items)


def settle(queues: Queues, items: Sequence[Item]) -> None:
    """Count items as answered, once each."""
    for item in items:
        queues.take(item.uid, item.size)
        item.size = 0
