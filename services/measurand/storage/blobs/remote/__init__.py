"""The implementation of `BlobStore` over another measurand process that keeps the blobs."""

from measurand.storage.blobs.remote.calls import CONTAINER_KEY, DEPLOYMENT_KEY
from measurand.storage.blobs.remote.faults import error_of
from measurand.storage.blobs.remote.store import Remote

__all__ = ["CONTAINER_KEY", "DEPLOYMENT_KEY", "Remote", "error_of"]
