"""Who holds a freeze, and what asked for it. Functions of heads, without I/O.

A freeze is held by whoever has its token. The token follows from the buffer's secret and the number of the freeze, so
it is kept nowhere and yet can be said again to whoever repeats the request.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import datetime, timedelta

from measurand.core.buffers.heads import EventKind, Freeze, Head, State
from measurand.core.buffers.standing import refusal
from measurand.core.buffers.windows import SYSTEM, due, frozen
from measurand.core.requests import check_request_id, fingerprint
from measurand.core.times import microseconds
from measurand.wire.errors import FailedPrecondition, Frozen, NotFrozen, PermissionDenied, RequestIdReused

__all__ = ["closed_in", "freeze_token", "held", "is_same", "mark_of", "prolonged", "require_held", "waiting"]


def freeze_token(head: Head) -> str:
    """Return the token of the newest freeze of a buffer."""
    return hmac.new(head.secret.encode(), f"{head.uid}/{head.freezes}".encode(), hashlib.sha256).hexdigest()


def held(
    head: Head,
    now: datetime,
    owner: str,
    window: int,
    comment: str,
    mark: str,
    lease: timedelta | None,
    *,
    force: bool,
) -> Head | None:
    """Return the head, frozen by this caller; the same one if it is so already; None: it has to wait.

    Raises
    ------
    Frozen
        BUFFER_FROZEN: somebody else holds a freeze.
    FailedPrecondition
        STATE_WRONG: `window` is not the newest, or the buffer is finished.
    """
    freeze = head.freeze
    if head.state is State.FROZEN and freeze is not None and mark and is_same(freeze.request, mark):
        return head
    if window and window != head.window:
        why = "is sealed already" if window < head.window else "is not open yet"
        raise FailedPrecondition(
            f"{head.name}: window {window} {why}, the newest is {head.window}; read the buffer again",
            resource=head.name,
            state=head.state.value,
            window=head.window,
        )
    expires = None if lease is None else microseconds(now + lease)
    if head.state is State.FROZEN and freeze is not None and freeze.owner == SYSTEM:
        return _taken_over(head, now, owner, freeze, expires, comment, mark)
    if (error := refusal(head)) is not None:
        raise error
    policy = head.policy
    has_limits = policy.freeze_after_records or policy.freeze_after_bytes or policy.freeze_after_age is not None
    if has_limits and not policy.rotate and not force and not due(head, microseconds(now)):
        return None
    return frozen(head, now, owner, expires=expires, comment=comment, request=mark)


def prolonged(head: Head, now: datetime, token: str, lease: timedelta | None) -> Head:
    """Return the head with the freeze of this token prolonged; lease None: for ever. Raises NotFrozen, Frozen."""
    freeze = head.freeze
    if head.state is not State.FROZEN or freeze is None:
        raise NotFrozen(f"{head.name}: the freeze has ended; freeze it again", resource=head.name)
    if not _is_token(head, token):
        error = refusal(head)
        assert isinstance(error, Frozen)
        raise error
    expires = None if lease is None else microseconds(now + lease)
    return replace(head, freeze=replace(freeze, expires=expires), version=head.version + 1, update_time=now)


def _taken_over(
    head: Head, now: datetime, owner: str, freeze: Freeze, expires: int | None, comment: str, mark: str
) -> Head:
    """Return a head that a policy froze, with its freeze held by a caller."""
    number = head.freezes + 1
    held = replace(freeze, owner=owner, expires=expires, number=number, comment=comment or freeze.comment, request=mark)
    changed = replace(head, freeze=held, freezes=number, version=head.version + 1, update_time=now)
    return changed.noting(EventKind.FROZEN, now, owner, comment)


def waiting(head: Head, now: datetime, actor: str) -> Head:
    """Return the head with the event that somebody is waiting, once for each of them and a window."""
    is_known = any(
        event.kind is EventKind.WAITING and event.window == head.window and event.actor == actor
        for event in head.events
    )
    return head if is_known else head.noting(EventKind.WAITING, now, actor, f"{head.window_records} records")


def closed_in(head: Head, window: int, mark: str) -> int | None:
    """Return the window that was closed before and is still closing: this one, or the one by this request."""
    if window:
        return window if window < head.window else None
    for closing in head.closing:
        if mark and closing.request and is_same(closing.request, mark):
            return closing.window
    return None


def require_held(head: Head, token: str, *, force: bool) -> Freeze:
    """Return the freeze of a head that may be ended with this token, or raise NotFrozen or PermissionDenied."""
    freeze = head.freeze
    if head.state is not State.FROZEN or freeze is None:
        raise NotFrozen(f"{head.name} is not frozen; freeze it first, or rotate it", resource=head.name)
    if freeze.owner != SYSTEM and not force and not _is_token(head, token):
        raise PermissionDenied(
            f"{head.name} is frozen by {freeze.owner}; give the freeze token, or use force", resource=head.name
        )
    return freeze


def _is_token(head: Head, token: str) -> bool:
    return hmac.compare_digest(freeze_token(head).encode(), token.encode())


def mark_of(request_id: str, *asked: object) -> str:
    """Return what is kept of a request; empty without an id."""
    if not request_id:
        return ""
    check_request_id(request_id)
    return f"{fingerprint(*asked)} {request_id}"


def is_same(kept: str, mark: str) -> bool:
    """Tell whether a request is the one that was kept. Raises RequestIdReused if only the id is the same."""
    asked, _, request_id = mark.partition(" ")
    kept_asked, _, kept_id = kept.partition(" ")
    if kept_id != request_id:
        return False
    if kept_asked != asked:
        raise RequestIdReused(
            f"request_id: {request_id!r} was used before for another request; make a new one for each change",
            field="request_id",
        )
    return True
