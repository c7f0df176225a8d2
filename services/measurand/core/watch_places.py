"""Resume tokens: where a watch goes on. They hold no secret, since access and filter are applied anew."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime

from measurand.core.times import from_microseconds, microseconds
from measurand.wire.errors import PageTokenInvalid

__all__ = ["Place", "open_place"]

VERSION = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a watch is.

    Parameters
    ----------
    first : datetime
        When it began, for `ago("…")` in its filter.
    token : str
        The store's, of the last change that was looked at.
    existing : str, optional
        The last dataset that was sent as existing; empty before the first. None: those are through.
    """

    first: datetime
    token: str
    existing: str | None = None

    def text(self) -> str:
        """Return the token that says so."""
        content = [VERSION, microseconds(self.first), self.token, self.existing]
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def open_place(token: str) -> Place:
    """Return where a token says to go on. Raises PageTokenInvalid."""
    try:
        raw = token.encode("ascii")
        match json.loads(base64.b64decode(raw + b"=" * (-len(raw) % 4), b"-_", validate=True)):
            case [1, int(first), str(store), (str() | None) as existing]:
                return Place(from_microseconds(first), store, existing)
    except (ValueError, OverflowError, RecursionError):  # of base64, UTF-8, JSON and times
        pass
    raise PageTokenInvalid("resume_token: it is malformed; use one as it was answered", field="resume_token")
