"""A server that is in a hurry: its work in the background comes every few seconds, and its lease is short.

What would take hours, such as that garbage is collected by the one of two servers that is left, takes seconds.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from measurand.wire.malloc import tune

__all__ = ["HASTY_LEASE_SECONDS"]

HASTY_LEASE_SECONDS = 3.0
LONGEST_INTERVAL_SECONDS = 1.5


def main() -> None:
    """Run the command with other intervals."""
    tune()
    from measurand.core.leases import Lease
    from measurand.server import compose as composing
    from measurand.server import process
    from measurand.server.run import command

    async def hasty(*arguments: Any, **more: Any) -> composing.Parts:
        parts = await composing.compose(*arguments, **more)
        soon = [min(job.interval_seconds, LONGEST_INTERVAL_SECONDS) for job in parts.jobs]
        jobs = [replace(job, interval_seconds=each) for job, each in zip(parts.jobs, soon, strict=True)]
        return replace(parts, jobs=jobs)

    mock.patch.object(composing, "Lease", partial(Lease, seconds=HASTY_LEASE_SECONDS)).start()
    mock.patch.object(process, "compose", hasty).start()
    command()


if __name__ == "__main__":
    main()
