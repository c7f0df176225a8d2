"""Running the work of a command so that it ends in good order: what it opened is closed, leases are given back."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["run"]

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what the work returns. SIGTERM ends it as ctrl-C does, and the process with it."""

    async def watched() -> Result:
        task = asyncio.current_task()
        assert task is not None
        with suppress(ValueError, RuntimeError):  # signals reach the main thread alone
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
