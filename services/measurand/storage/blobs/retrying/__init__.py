"""A wrapper that asks again when a store does not answer, within measure."""

from measurand.storage.blobs.retrying.store import Retrying

__all__ = ["Retrying"]
