"""The implementation of `BlobStore` over an S3 bucket."""

from measurand.storage.blobs.s3.location import Location, parse_location
from measurand.storage.blobs.s3.store import S3

__all__ = ["S3", "Location", "parse_location"]
