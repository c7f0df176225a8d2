"""How many requests may be asked twice: a small share of all, and a few at once."""

from __future__ import annotations

__all__ = ["Allowance"]

SHARE = 0.05
BURST = 20.0


class Allowance:
    """Earned by requests, spent on extra ones."""

    def __init__(self) -> None:
        self._left = BURST

    def earn(self, requests: int) -> None:
        """Count requests that were asked once."""
        self._left = min(BURST, self._left + SHARE * requests)

    def spend(self, requests: int) -> bool:
        """Tell whether so many extra requests may be asked, and count them if they may."""
        if self._left < requests:
            return False
        self._left -= requests
        return True
