"""From one window to the next: freezing it, closing it, and when a policy does so. Functions of heads, without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from measurand.core.buffers.heads import Closing, EventKind, Freeze, Head, State
from measurand.core.names import BufferName
from measurand.core.ports import Json
from measurand.core.times import microseconds

__all__ = ["SYSTEM", "batch_id", "closed", "due", "frozen", "lapsed"]

SYSTEM = "system"
"""Who freezes, closes and removes where a policy says so."""

MAX_ID = 128
_MICROSECOND = timedelta(microseconds=1)


def due(head: Head, now: int) -> str:
    """Return which limit of its policy the newest window has reached, in words; empty: none.

    Parameters
    ----------
    now : int
        In microseconds since 1970.
    """
    policy, records = head.policy, head.window_records
    if not records:
        return ""
    if policy.freeze_after_records and records >= policy.freeze_after_records:
        return f"the window has {records} records"
    if policy.freeze_after_bytes and head.window_counted >= policy.freeze_after_bytes:
        return f"the window has {head.window_counted} bytes"
    if policy.freeze_after_age is not None and head.window_first_time is not None:
        age = policy.freeze_after_age
        if (now - head.window_first_time) * _MICROSECOND >= age:
            return f"the window is {age.total_seconds():g} seconds old"
    return ""


def frozen(
    head: Head, now: datetime, owner: str, *, expires: int | None = None, comment: str = "", request: str = ""
) -> Head:
    """Return an active head with its newest window frozen.

    Parameters
    ----------
    expires : int, optional
        When the freeze ends by itself, in microseconds since 1970.
    request : str
        What asked for it: `{id} {fingerprint}`.
    """
    number = head.freezes + 1
    freeze = Freeze(owner, microseconds(now), number, expires, comment, request)
    changed = replace(
        head, state=State.FROZEN, freeze=freeze, freezes=number, version=head.version + 1, update_time=now
    )
    return changed.noting(EventKind.FROZEN, now, owner, comment)


def closed(
    head: Head,
    now: datetime,
    owner: str,
    *,
    makes_batch: bool = True,
    said: Mapping[str, Json] | None = None,
    comment: str = "",
    request: str = "",
) -> Head:
    """Return a head with its newest window noted as closing, and the next one opened.

    Parameters
    ----------
    makes_batch : bool
        False: the records of the window are thrown away.
    said : mapping, optional
        Title, tags and metadata for the batch, as the one who closes it says.
    """
    has_records = head.window_records > 0
    closing = Closing(
        window=head.window,
        first=head.window_first,
        end=head.next_sequence,
        counted=head.window_counted,
        first_time=head.window_first_time,
        last_time=head.last_time if has_records else None,
        owner=head.freeze.owner if head.freeze is not None else owner,
        freeze_time=head.freeze.time if head.freeze is not None else microseconds(now),
        close_time=microseconds(now),
        dataset=batch_id(head.name, now, head.window) if makes_batch else "",
        said=said or {},
        comment=comment,
        request=request,
    )
    changed = replace(
        head,
        state=State.FINISHED if head.state is State.FINISHED else State.ACTIVE,
        freeze=None,
        window=head.window + 1,
        window_first=head.next_sequence,
        window_counted=0,
        window_first_time=None,
        closing=(*head.closing, closing),
        version=head.version + 1,
        update_time=now,
    )
    return changed.noting(EventKind.OPENED, now, owner)


def lapsed(head: Head, now: datetime) -> Head | None:
    """Return what becomes of a head whose freeze nobody has prolonged in time: unfrozen. None: there is none."""
    freeze = head.freeze
    if freeze is None or freeze.expires is None or freeze.expires > microseconds(now):
        return None
    ended = head.noting(EventKind.FREEZE_EXPIRED, now, SYSTEM, f"nobody prolonged the freeze of {freeze.owner}")
    return closed(ended, now, SYSTEM, makes_batch=head.window_records > 0, comment=freeze.comment)


def batch_id(name: BufferName, now: datetime, window: int) -> str:
    """Return the id of the dataset of a window that is closed now."""
    suffix = f"-{now:%Y%m%dt%H%M%S}.{now.microsecond:06d}z-{window}"
    return name.buffer[: MAX_ID - len(suffix)] + suffix
