"""Page tokens: where a listing goes on. They hold no secret, since access and filter are applied anew on every page."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from measurand.core.limits import Limits
from measurand.core.ports import Position
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Scalar
from measurand.wire.errors import InvalidArgument, PageTokenInvalid

__all__ = ["Start", "make_token", "open_token", "page_size"]

VERSION = 1
MAX_TOKEN_CHARACTERS = 65_536
MAX_KEY_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Start:
    """Where a page begins.

    Parameters
    ----------
    after : Position, optional
        Behind this; None: at the beginning.
    now : datetime
        The time of the first page, for `ago("…")` in its filter.
    """

    after: Position | None
    now: datetime


def make_token(after: Position, *, request: Sequence[str], now: datetime) -> str:
    """Return the token for the page that comes behind `after`.

    Parameters
    ----------
    after : Position
        Where the last item of the page before stands.
    request : sequence of str
        What must stay the same from page to page: method, parent, filter, order_by and whatever else selects.
    now : datetime
        `Start.now` of this page.
    """
    values = [None if scalar is None else [scalar.kind, scalar.value] for scalar in after.values]
    content = [VERSION, _digest(request), microseconds(now), values, after.key]
    return base64.urlsafe_b64encode(json.dumps(content, ensure_ascii=False).encode()).decode().rstrip("=")


def open_token(token: str, *, request: Sequence[str], values: int, now: datetime) -> Start:
    """Return where the page that a token asks for begins.

    Parameters
    ----------
    token : str
        From the page before. Empty: the first page.
    request : sequence of str
        As in `make_token`.
    values : int
        How many paths the order has.
    now : datetime
        The time, for the first page.

    Raises
    ------
    PageTokenInvalid
        PAGE_TOKEN_INVALID: it is malformed, of another release's form, or from another request.
    """
    if not token:
        return Start(None, now)
    try:
        match _content(token):
            case [1, str(digest), int(first), list(held), str(key)] if type(first) is int and len(held) == values:
                if digest != _digest(request):
                    raise PageTokenInvalid("the page token is from another request; begin again without one")
                if len(key.encode()) <= MAX_KEY_BYTES:
                    return Start(Position(tuple(_scalar(value) for value in held), key), from_microseconds(first))
    except (ValueError, OverflowError, RecursionError):  # of base64, UTF-8, JSON, numbers and times
        pass
    raise PageTokenInvalid("the page token is malformed; use one as it was answered, or begin again without one")


def page_size(requested: int, limits: Limits) -> int:
    """Return how many items a page has at most. 0 asks for the default, too many for as many as there may be."""
    if requested < 0:
        raise InvalidArgument(f"page_size: {requested} is negative; leave it out or say how many", field="page_size")
    return min(requested or limits.default_page_size, limits.max_page_size)


def _digest(request: Sequence[str]) -> str:
    parts = json.dumps(list(request)).encode()  # as JSON, so that no part can run into the next
    return base64.urlsafe_b64encode(hashlib.sha256(parts).digest()[:12]).decode()


def _content(token: str) -> object:
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise ValueError
    raw = token.encode("ascii")
    content: object = json.loads(base64.b64decode(raw + b"=" * (-len(raw) % 4), b"-_", validate=True))
    return content


def _scalar(held: object) -> Scalar | None:
    """Return a sort value, as a view may have it; a forged one must not reach a store in any other form."""
    match held:
        case None:
            return None
        case ["b", bool(value)]:
            return Scalar("b", value)
        case ["s", str(value)] if len(value.encode()) <= 1024:
            return Scalar("s", value)
        case ["n", float(value)] if value == value:
            return Scalar("n", value)
        case ["n" | "t" as kind, int(value)] if type(value) is int and -(2**63) <= value < 2**63:
            return Scalar(kind, value)
    raise ValueError
