"""What is asked of an S3 store: objects, lists, multipart uploads. Nothing but what every such store can.

Conditional writes are a guard against two writers of one key where the store knows them; nothing rests on them, as
keys are never used twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from measurand.core.ports import Buffer
from measurand.storage.blobs.s3.client import Body, Client
from measurand.storage.blobs.s3.faults import Refused

__all__ = ["PAGE", "Found", "Guard", "Objects", "Part", "Upload"]

PAGE = 1000
"""The longest list that every store gives at once."""

Guard = Literal["unknown", "kept", "refused"]
"""What a store does about conditional writes: it keeps them, it refuses such requests, or nobody has looked."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object."""

    name: str
    size: int
    modified_time: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload, and the tag by which the store wants it to be named."""

    number: int
    size: int
    tag: str
    modified_time: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was neither completed nor aborted."""

    name: str
    id: str
    started_time: datetime


class Objects:
    """The objects of one bucket, by their full names. Blocking; raises Refused and what the network raises."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.guard: Guard = "unknown"

    def head(self, name: str) -> Found | None:
        """Return what is known of an object, or None."""
        try:
            answer = self._client.call("HEAD", name)
        except Refused as error:
            if error.is_missing:
                return None
            raise
        time = parsedate_to_datetime(answer.header("Last-Modified"))
        return Found(name, int(answer.header("Content-Length")), time.astimezone(UTC))

    def measure(self, name: str, size: int) -> Found | None:
        """Return what `head` does, asked again where it is too small: an answer may be cut within the number."""
        found = self.head(name)
        return found if found is None or found.size >= size else self.head(name)

    def require_bucket(self) -> None:
        """Raise Refused when there is no bucket, which looks to `head` as if there were no object."""
        try:
            self._client.call("HEAD", "")
        except Refused as error:
            raise Refused(error.status, "NoSuchBucket" if error.is_missing else error.code) from error

    def fetch(self, name: str) -> bytes | None:
        """Return the content of a small object, or None."""
        try:
            return self._client.call("GET", name).content
        except Refused as error:
            if error.is_missing:
                return None
            raise

    def stream(self, name: str, begin: int, end: int) -> Body:
        """Return these bytes of an object while they come; there must be some. Close it."""
        return self._client.stream(name, headers={"range": f"bytes={begin}-{end - 1}"})

    def put(self, name: str, chunks: Sequence[Buffer]) -> None:
        """Store an object, in the place of another one if there is one."""
        self._client.call("PUT", name, chunks=chunks)

    def put_new(self, name: str, chunks: Sequence[Buffer]) -> bool:
        """Store an object unless there is one, and tell whether it was stored.

        A store that knows no conditions stores it in any case.
        """
        if self.guard != "refused":
            try:
                self._client.call("PUT", name, headers={"if-none-match": "*"}, chunks=chunks)
            except Refused as error:
                if error.is_taken:
                    return False
                if error.status != 501:
                    raise
                self.guard = "refused"
            else:
                return True
        self.put(name, chunks)
        return True

    def copy(self, source: str, name: str) -> None:
        """Have the store copy an object of at most 5 GiB, in the place of another one if there is one."""
        # `xml` raises what the store finds wrong after it has begun to answer.
        _ = self._client.call("PUT", name, headers={"x-amz-copy-source": self._client.source(source)}).xml

    def delete(self, name: str) -> None:
        """Remove an object, if there is one."""
        try:
            self._client.call("DELETE", name)
        except Refused as error:
            if not error.is_missing:
                raise

    def page(self, prefix: str, after: str = "") -> tuple[list[Found], str]:
        """Return a page of the objects whose names begin so, in order, and what to ask for the next with, if any."""
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(PAGE)}
        if after:
            query["continuation-token"] = after
        tree = self._client.call("GET", "", query).xml
        found = [
            Found(_text(item, "Key"), int(_text(item, "Size")), _time(_text(item, "LastModified")))
            for item in tree.iterfind("Contents")
        ]
        is_last = tree.findtext("IsTruncated") != "true"
        return found, "" if is_last else _text(tree, "NextContinuationToken")

    def all(self, prefix: str) -> Iterator[Found]:
        """Yield all objects whose names begin so."""
        after, is_first = "", True
        while after or is_first:
            is_first = False
            found, after = self.page(prefix, after)
            yield from found

    # ------------------------------------------------------------------------------------------- multipart uploads

    def begin_upload(self, name: str) -> str:
        """Begin a multipart upload and return its id."""
        return _text(self._client.call("POST", name, {"uploads": ""}).xml, "UploadId")

    def upload_part(self, name: str, upload: str, number: int, chunks: Sequence[Buffer]) -> str:
        """Store a part, durable when this returns, and return its tag."""
        query = {"partNumber": str(number), "uploadId": upload}
        return self._client.call("PUT", name, query, chunks=chunks).header("ETag")

    def parts(self, name: str, upload: str) -> Iterator[Part]:
        """Yield the parts of an upload by number; several of one number if it was stored again, on some stores."""
        marker = "0"
        while marker:
            query = {"uploadId": upload, "max-parts": str(PAGE), "part-number-marker": marker}
            tree = self._client.call("GET", name, query).xml
            for item in tree.iterfind("Part"):
                yield Part(
                    int(_text(item, "PartNumber")),
                    int(_text(item, "Size")),
                    _text(item, "ETag"),
                    _time(_text(item, "LastModified")),
                )
            marker = _text(tree, "NextPartNumberMarker") if tree.findtext("IsTruncated") == "true" else ""

    def complete(self, name: str, upload: str, parts: Sequence[tuple[int, str]]) -> None:
        """Make an object of these parts (numbers and tags); durable when this returns."""
        items = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>" for number, tag in parts
        )
        body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{items}</CompleteMultipartUpload>'
        # `xml` raises what the store finds wrong after it has begun to answer.
        _ = self._client.call("POST", name, {"uploadId": upload}, chunks=[body.encode()]).xml

    def abort(self, name: str, upload: str) -> None:
        """Throw an upload and its parts away, if it is still there."""
        try:
            self._client.call("DELETE", name, {"uploadId": upload})
        except Refused as error:
            if not (error.is_upload_gone or error.is_missing):
                raise

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Yield the multipart uploads to names that begin so. Some stores list those of one whole name only."""
        query = {"uploads": "", "prefix": prefix, "max-uploads": str(PAGE)}
        while True:
            tree = self._client.call("GET", "", query).xml
            for item in tree.iterfind("Upload"):
                yield Upload(_text(item, "Key"), _text(item, "UploadId"), _time(_text(item, "Initiated")))
            if tree.findtext("IsTruncated") != "true":
                return
            query["key-marker"] = _text(tree, "NextKeyMarker")
            query["upload-id-marker"] = tree.findtext("NextUploadIdMarker", "")


def _text(element: Element, name: str) -> str:
    found = element.findtext(name)
    if found is None:
        raise ValueError(f"an answer without {name}")
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
