"""How much fits into one call, and how long things last. Clients learn it from GetCapabilities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["Limits"]

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of one deployment; all have defaults that fit the contract."""

    max_message_bytes: int = 12 * MiB
    """Largest message that the server takes where it carries documents."""
    max_data_bytes: int = 2 * MiB
    """Largest `data` of a message."""
    preferred_chunk_bytes: int = 1 * MiB
    """Size of the chunks of uploads and downloads."""
    max_put_file_bytes: int = 1 * MiB
    """Largest file for PutFile and PutFiles."""
    max_document_bytes: int = 4 * MiB
    """Largest document, as Extended JSON text."""
    max_document_depth: int = 100
    max_page_size: int = 1000
    default_page_size: int = 100
    page_bytes: int = 2 * MiB
    """A page is cut so that its message stays below this, unless its one item is larger."""
    window_bytes: int = 16 * MiB
    """Most bytes that one writer may have sent and not yet acknowledged."""
    persist_bytes: int = 2 * MiB
    """Persist and acknowledge at least this often."""
    persist_seconds: float = 1.0
    piece_bytes: int = 32 * GiB
    """Largest blob that an upload is written into; then it goes on in another. S3 takes 10,000 parts for each."""
    max_wait: timedelta = timedelta(seconds=30)
    """Longest wait of a Poll call."""
    heartbeat: timedelta = timedelta(seconds=30)
    """Longest silence of a watch."""
    request_id_lifetime: timedelta = timedelta(hours=24)
    upload_lifetime: timedelta = timedelta(hours=24)
    """How long an upload lives after its last bytes."""
    undelete_window: timedelta = timedelta(days=30)
    """How long deleted things can be brought back where the catalog does not say otherwise."""
    blob_grace: timedelta = timedelta(hours=1)
    """How long a blob that nobody names is left alone. Blobs are named within seconds; a laptop runs for hours."""
    repair_delay: timedelta = timedelta(minutes=15)
    """How long a container may be down before its parts are made anew elsewhere."""
    repair_bytes: int = 0
    """So many bytes a second are moved to repair, drain, even out and recode. 0: a fifth of what containers give."""
    scrub_interval: timedelta = timedelta(days=30)
    """In that time every part is read and checked once. 0: never."""
    max_retries: int = 10
    """How often a read-change-write without an etag is tried."""
