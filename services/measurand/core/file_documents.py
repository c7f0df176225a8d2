"""Files as values, and as the documents that make their bytes visible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote

from measurand.core.extents import Extent, extents_from_json, extents_to_json
from measurand.core.names import FileName, parse_file
from measurand.core.placement.policies import Policy
from measurand.core.ports import Document, Json
from measurand.core.requests import check_request_id, fingerprint
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry, Scalar, View
from measurand.wire.errors import InvalidArgument

__all__ = [
    "FILES",
    "SUPERSEDED",
    "Digests",
    "File",
    "FileSpec",
    "check_spec",
    "file_document",
    "file_from_json",
    "file_of",
    "file_to_json",
    "request_of",
    "superseded_document",
    "superseded_key",
    "superseded_view",
]

FILES = "files"
"""The collection of the newest generations: key the file's name, scope its dataset."""

SUPERSEDED = "superseded"
"""The collection of the generations before: they can be read by number until they expire."""

MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_CHARACTERS = 255

_LAST_GENERATION = 10**19


@dataclass(frozen=True, slots=True)
class Digests:
    """What the bytes as a whole should have, or have; empty where unknown."""

    crc32c: int | None = None
    blake3: str = ""


@dataclass(frozen=True, slots=True)
class FileSpec:
    """What a new file shall be.

    Parameters
    ----------
    if_generation : int, optional
        Make it only if the newest generation is this one; 0: only if there is none. None: no check.
    storage_policy : Policy, optional
        Where its bytes are kept. None: as its dataset says.
    """

    name: FileName
    content_type: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    if_generation: int | None = None
    storage_policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One generation of a file. The pair (name, generation) never changes.

    Parameters
    ----------
    request : str
        What made it: a request id with a fingerprint of the request, or the name of an upload.
    """

    name: FileName
    generation: int
    size: int
    digests: Digests
    content_type: str
    attributes: Mapping[str, str]
    create_time: datetime
    creator: str
    extents: tuple[Extent, ...]
    request: str = ""
    superseded: bool = False


def check_spec(spec: FileSpec) -> None:
    """Raise InvalidArgument for a type or attributes out of bounds. The name was checked when it was parsed."""
    if len(spec.content_type) > MAX_ATTRIBUTE_CHARACTERS:
        raise InvalidArgument(
            f"{spec.name}: the content_type is longer than {MAX_ATTRIBUTE_CHARACTERS} characters",
            field="file.content_type",
        )
    if len(spec.attributes) > MAX_ATTRIBUTES:
        raise InvalidArgument(
            f"{spec.name}: {len(spec.attributes)} attributes; the most is {MAX_ATTRIBUTES}; put more into metadata",
            field="file.attributes",
        )
    for key, value in spec.attributes.items():
        if not key or len(key) > MAX_ATTRIBUTE_CHARACTERS or len(value) > MAX_ATTRIBUTE_CHARACTERS:
            raise InvalidArgument(
                f"{spec.name}: the attribute {key[:80]!r} must have a key of 1 to {MAX_ATTRIBUTE_CHARACTERS} "
                f"characters and a value of at most as many",
                field="file.attributes",
            )
    if spec.if_generation is not None and spec.if_generation < 0:
        raise InvalidArgument(f"{spec.name}: if_generation is negative", field="file.if_generation")


def request_of(request_id: str, spec: FileSpec, *asked: int | None, index: int | None = None) -> str:
    """Return what a file or an upload keeps of the request that made it: `request:{id} {fingerprint}`, or "".

    Parameters
    ----------
    *asked : int or None
        What else was asked, such as size and crc32c.
    index : int, optional
        Which file of a stream that has one id for all of them.
    """
    if not request_id:
        return ""
    check_request_id(request_id)
    said = (str(spec.name), spec.content_type, sorted(spec.attributes.items()), spec.if_generation, *asked)
    place = "" if index is None else f"/{index}"
    return f"request:{quote(request_id, safe='')}{place} {fingerprint(said)}"


def file_to_json(file: File) -> dict[str, Json]:
    """Return a file as the body of its document."""
    body: dict[str, Json] = {
        "name": str(file.name),
        "generation": file.generation,
        "size": file.size,
        "crc32c": file.digests.crc32c,
        "blake3": file.digests.blake3,
        "created": microseconds(file.create_time),
        "creator": file.creator,
        "extents": extents_to_json(file.extents),
    }
    if file.content_type:
        body["content_type"] = file.content_type
    if file.attributes:
        body["attributes"] = dict(file.attributes)
    if file.request:
        body["request"] = file.request
    return body


def file_from_json(body: Mapping[str, Json], *, superseded: bool = False) -> File:
    """Return the file that the body of a document tells of."""
    generation, size, crc32c, created = (body[key] for key in ("generation", "size", "crc32c", "created"))
    attributes = body.get("attributes") or {}
    assert isinstance(generation, int) and isinstance(size, int) and isinstance(created, int)
    assert isinstance(attributes, Mapping) and isinstance(crc32c, int)
    return File(
        name=parse_file(str(body["name"])),
        generation=generation,
        size=size,
        digests=Digests(crc32c, str(body["blake3"])),
        content_type=str(body.get("content_type") or ""),
        attributes={key: str(value) for key, value in attributes.items()},
        create_time=from_microseconds(created),
        creator=str(body["creator"]),
        extents=extents_from_json(body["extents"]),
        request=str(body.get("request") or ""),
        superseded=superseded,
    )


def file_of(document: Document) -> File:
    """Return the file that a document of either collection is."""
    return file_from_json(document.body, superseded="\0" in document.key)


def file_document(file: File) -> Document:
    """Return the document of a newest generation. The view is small: folders may hold millions of files."""
    blobs = dict.fromkeys(extent.blob.key for extent in file.extents)
    view = [
        Entry("size", Scalar("n", file.size)),
        *(Entry("blob", Scalar("s", key), in_list=True) for key in blobs),
    ]
    last = file.name.path.rpartition("/")[2]
    view.append(Entry("filename", Scalar("s", last)))
    return Document(str(file.name), str(file.name.parent), file_to_json(file), view=view)


def superseded_key(name: FileName, generation: int) -> str:
    """Return the key under which an older generation is kept: by name, then newest first. Names hold no NUL."""
    return f"{name}\0{_LAST_GENERATION - generation:019d}"


def superseded_document(file: File, now: datetime, window: timedelta) -> Document:
    """Return the document that keeps a generation which is about to be replaced."""
    expires = microseconds(now + window)
    body = {**file_to_json(file), "expires": expires}
    key = superseded_key(file.name, file.generation)
    return Document(key, str(file.name.parent), body, view=superseded_view(file, expires))


def superseded_view(file: File, expires: int) -> View:
    """Return what a generation that was replaced can be found by."""
    blobs = dict.fromkeys(extent.blob.key for extent in file.extents)
    view = [
        Entry("expires", Scalar("t", expires)),
        *(Entry("blob", Scalar("s", key), in_list=True) for key in blobs),
    ]
    if file.request:
        view.append(Entry("request", Scalar("s", file.request.partition(" ")[0])))
    return view
