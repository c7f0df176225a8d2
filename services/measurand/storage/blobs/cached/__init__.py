"""A wrapper that keeps what is read on a disk of this machine."""

from measurand.storage.blobs.cached.store import Cached

__all__ = ["Cached"]
