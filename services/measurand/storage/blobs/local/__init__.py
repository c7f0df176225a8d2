"""The implementation of `BlobStore` over a folder."""

from measurand.storage.blobs.local.store import Local

__all__ = ["Local"]
