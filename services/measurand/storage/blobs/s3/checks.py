"""What is tried out when a server starts: whether a bucket is there, and does what a store of blobs needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from measurand.storage.blobs.s3.faults import Refused, translating
from measurand.storage.blobs.s3.layout import Names
from measurand.storage.blobs.s3.objects import Objects
from measurand.wire.errors import Unavailable

__all__ = ["check"]

_CONTENT = b"measurand was here"


def check(objects: Objects, names: Names, place: str) -> None:
    """Write, read, list and remove an object. Raises Unavailable with what is wrong and what to do.

    Also finds out whether the store knows conditional writes, which saves asking before each write.
    """
    name = f"{names.checks}{uuid4().hex}"
    with _allowed(place, "list what is in it", "s3:ListBucket"):
        objects.page(name)
    with _allowed(place, "write into it", "s3:PutObject"):
        stored = objects.put_new(name, [_CONTENT])
        again = objects.put_new(name, [_CONTENT])
    if stored and not again:
        objects.guard = "kept"
    try:
        with _allowed(place, "read from it", "s3:GetObject"):
            _read(objects, name, place)
        found, _ = objects.page(name)
        if [each.name for each in found] != [name]:
            raise _unfit(place, "does not list at once what was written")
    finally:
        with _allowed(place, "remove what is in it", "s3:DeleteObject"):
            objects.delete(name)


def _read(objects: Objects, name: str, place: str) -> None:
    body = objects.stream(name, 2, 7)
    try:
        if body.status != 206 or body.read(5) != _CONTENT[2:7]:
            raise _unfit(place, "does not give ranges of what was written")
    finally:
        body.close()


@contextmanager
def _allowed(place: str, what: str, permission: str) -> Iterator[None]:
    """Say which permission is missing when the store refuses what is done in the block."""
    with translating(place):
        try:
            yield
        except Refused as error:
            if error.status == 403 and error.code in ("", "AccessDenied"):
                raise Unavailable(
                    f"{place}: these credentials may not {what}; allow {permission} there, or use others",
                    retry_seconds=30.0,
                    store="s3",
                ) from error
            raise


def _unfit(place: str, what: str) -> Unavailable:
    return Unavailable(f"{place}: the S3 store {what}; use one that does", retry_seconds=30.0, store="s3")
