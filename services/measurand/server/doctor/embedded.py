"""What only the stores on this machine have: a database file, and a folder of blobs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from measurand.server.doctor.findings import Report
from measurand.storage.documents.sqlite.schema import FORMAT
from measurand.storage.documents.sqlite.state import faults_of, state_of

__all__ = ["check_database", "check_database_deeply"]

SYNCHRONOUS_FULL = 2
LARGEST_LOG_BYTES = 256 << 20
"""The log of a database is cut to 64 MiB again and again, unless somebody holds an old state of it open."""


async def check_database(report: Report, path: Path) -> None:
    """See how the database is kept."""
    async with report.trying("documents: durability", "to ask the database how it is kept") as note:
        state = await asyncio.to_thread(state_of, path)
        kept = f"format {state.format}, journal {state.journal}, synchronous {state.synchronous}"
        if state.journal != "wal" or state.synchronous < SYNCHRONOUS_FULL:
            note.fail(f"{kept}: commits may not survive the loss of power", "move it to a local disk")
        elif state.format < FORMAT:
            note.warn(f"{kept}: older than this release's format {FORMAT}", "run `measurand migrate`")
        elif state.log_bytes > LARGEST_LOG_BYTES:
            log = f"its log has grown to {state.log_bytes >> 20} MiB"
            note.warn(log, "some process holds an old state of it open: end whatever reads the file for long")
        else:
            note.message = f"{kept}; {state.size_bytes / 1e6:.1f} MB and {state.log_bytes / 1e6:.1f} MB of log"


async def check_database_deeply(report: Report, path: Path) -> None:
    """See whether all pages of the database hang together."""
    async with report.trying("documents: soundness", "to check the whole database file") as note:
        faults = await asyncio.to_thread(faults_of, path)
        if faults:
            note.fail("; ".join(faults), "stop the servers and restore the newest backup: `measurand restore`")
        else:
            note.message = "all pages of the database hang together"
