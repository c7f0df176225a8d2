"""Everything that is stored, looked at once: what documents name is there, what is there is named."""

from __future__ import annotations

import sys
import time
from collections import Counter

import click

from measurand.core.checkup import Checkup, Kind, Seen, Trouble
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.doctor.findings import Report

__all__ = ["Progress", "examine_all"]

MOST_EACH = 1000
"""So many troubles of a kind are told one by one; of the others, how many they are."""

ADVICE: dict[Kind, str] = {
    "unreadable": "restore it from a backup, or delete it if it can be done without",
    "missing": "stop whatever deletes in the blob store (a lifecycle rule?), then restore the blob from a backup",
    "short": "restore the blob from a backup",
    "damaged": "see that the disk is sound, then restore the blob from a backup",
}


class Progress:
    """A line on a terminal that says how far it is."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._next = 0.0
        self._width = 0

    @classmethod
    def for_people(cls, *, as_json: bool) -> Progress:
        """Return one that is shown if somebody watches."""
        return cls(is_shown=not as_json and sys.stderr.isatty())

    def __call__(self, seen: Seen) -> None:
        """Say what was seen, a few times a second."""
        if self._is_shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.2
            parts = [f"{seen.documents:,} documents", f"{seen.blobs:,} blobs"]
            parts += [f"{seen.read_bytes / 1e9:.2f} GB read"] if seen.read_bytes else []
            self._write(", ".join(parts) + " …")

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            self._write("")

    def _write(self, text: str) -> None:
        click.echo(f"\r{text.ljust(self._width)}\r{text}", nl=False, err=True)
        self._width = len(text)


async def examine_all(
    report: Report,
    documents: DocumentStore,
    blobs: BlobStore,
    means: Means,
    limits: Limits,
    progress: Progress,
    *,
    bytes_per_second: float | None,
) -> None:
    """Look at all documents and all blobs, and with `bytes_per_second` at all bytes of files and arrays."""
    told: Counter[Kind] = Counter()

    def tell(trouble: Trouble) -> None:
        told[trouble.kind] += 1
        if told[trouble.kind] <= MOST_EACH:
            progress.clear()
            report.fail(f"deep: {trouble.kind}", f"{trouble.resource}: {trouble.text}", ADVICE[trouble.kind])

    checkup = Checkup(documents, blobs, means, limits, tell=tell, watch=progress)
    seen: Seen | None = None
    async with report.trying("deep: all", "to look at all documents and blobs", patience_seconds=None) as note:
        seen = await checkup.run(bytes_per_second=bytes_per_second)
        progress.clear()
        note.message = (
            f"{seen.documents} documents were read, {seen.named} blobs that they name looked for, "
            f"and {seen.blobs} blobs of {seen.blob_bytes / 1e9:.3f} GB listed"
        )
    if seen is not None:
        _summarise(report, seen, told, limits, has_read=bytes_per_second is not None)


def _summarise(report: Report, seen: Seen, told: Counter[Kind], limits: Limits, *, has_read: bool) -> None:
    words: dict[Kind, str] = {
        "unreadable": "documents cannot be read",
        "missing": "blobs that documents name are missing",
        "short": "blobs are shorter than they were",
    }
    if has_read:
        words["damaged"] = f"files or chunks are damaged; {seen.read_bytes / 1e9:.3f} GB were read"
    for kind, text in words.items():
        if not told[kind]:
            report.ok(f"deep: {kind}", f"0 {text}")
        elif told[kind] > MOST_EACH:
            report.fail(f"deep: {kind}", f"{told[kind]} {text}; {MOST_EACH} were listed", ADVICE[kind])

    hours = limits.blob_grace.total_seconds() / 3600
    orphans = f"{seen.orphans} blobs older than {hours:g} h that nothing names ({seen.orphan_bytes / 1e6:.1f} MB)"
    if seen.orphans:
        advice = "a running server removes them within a few hours; if they stay, see its log for `collect garbage`"
        report.warn("deep: orphans", f"{orphans}, such as {', '.join(seen.orphan_keys)}", advice)
    else:
        report.ok("deep: orphans", orphans)
    overdue = f"{seen.overdue} uploads whose time is over are still there"
    if seen.overdue:
        report.warn("deep: uploads", overdue, "see that a server runs and that its log tells of no failing jobs")
    else:
        report.ok("deep: uploads", overdue)
