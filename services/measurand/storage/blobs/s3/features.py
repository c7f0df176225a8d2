"""What an S3 service can do beyond what the store counts on: for an operator to know, not for the store to use."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from measurand.storage.blobs.s3.client import Client
from measurand.storage.blobs.s3.credentials import from_environment
from measurand.storage.blobs.s3.faults import Refused, translating
from measurand.storage.blobs.s3.layout import Names
from measurand.storage.blobs.s3.location import Location
from measurand.storage.blobs.s3.objects import Objects

__all__ = ["Features", "features_of", "make_owner", "owner_of"]

_CONTENT = b"measurand doctor"
_NO_CRC32C = "AAAAAA=="
"""That of no bytes, in base64: not that of the content."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a service says and does.

    Parameters
    ----------
    server : str
        How it calls itself; empty if it does not say.
    has_part_lists : bool
        Lists the parts of a multipart upload. The one thing that the store cannot do without.
    has_upload_lists : bool
        Lists multipart uploads that are not completed.
    has_conditional_put : bool
        Refuses to overwrite when it is asked to (`If-None-Match: *`).
    has_checksums : bool
        Refuses bytes that do not fit the CRC-32C that came with them.
    """

    server: str
    has_part_lists: bool
    has_upload_lists: bool
    has_conditional_put: bool
    has_checksums: bool


def features_of(location: Location, name: str) -> Features:
    """Return what a service can do. Blocking; raises what the store would raise when it cannot be used at all.

    Parameters
    ----------
    name : str
        Of an object, within the place, that nobody has ever used. It is written, and removed again.
    """
    client = Client(location, from_environment())
    objects, full = Objects(client), location.name(name)
    try:
        with translating(location.place):
            server = client.call("GET", "", {"list-type": "2", "max-keys": "1", "prefix": full}).headers.get("server")
            part_lists, upload_lists = _lists(objects, full)
            try:
                is_new = _is_taken(client, full, {"if-none-match": "*"})
                is_old = _is_taken(client, full, {"if-none-match": "*"})
                has_passed = _is_taken(client, full, {"x-amz-checksum-crc32c": _NO_CRC32C})
            finally:
                objects.delete(full)
    finally:
        client.close()
    return Features(server or "", part_lists, upload_lists, is_new and not is_old, not has_passed)


def owner_of(location: Location) -> str:
    """Return the id of the deployment whose blobs lie there; empty if none has claimed the place. Blocking."""
    client = Client(location, from_environment())
    try:
        with translating(location.place):
            return (Objects(client).fetch(Names(location).owner) or b"").decode().strip()
    finally:
        client.close()


def make_owner(location: Location, text: str) -> None:
    """Say whose blobs these are, whoever's they were. Blocking."""
    client = Client(location, from_environment())
    try:
        with translating(location.place):
            Objects(client).put(Names(location).owner, [text.encode()])
    finally:
        client.close()


def _is_taken(client: Client, name: str, headers: Mapping[str, str]) -> bool:
    """Tell whether an object with such headers is taken."""
    try:
        client.call("PUT", name, headers=headers, chunks=[_CONTENT])
    except Refused as refused:
        if refused.status in (400, 409, 412, 501):
            return False
        raise
    return True


def _lists(objects: Objects, name: str) -> tuple[bool, bool]:
    """Tell whether the parts of a multipart upload are listed, and whether the upload itself is."""
    upload = objects.begin_upload(name)
    has_parts = has_uploads = False
    try:
        objects.upload_part(name, upload, 1, [_CONTENT])
        with suppress(Refused, ValueError):
            has_parts = [part.size for part in objects.parts(name, upload)] == [len(_CONTENT)]
        with suppress(Refused, ValueError):
            has_uploads = upload in [found.id for found in objects.uploads(name)]
    finally:
        objects.abort(name, upload)
    return has_parts, has_uploads
