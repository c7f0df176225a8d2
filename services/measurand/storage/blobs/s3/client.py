"""Requests to one bucket. Blocking; for any number of threads.

Credentials, signatures and connections are botocore's. Of botocore only this lower half: the upper one builds each
request from a model of the whole service, which costs a small one several times what all the rest of it does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ResponseStreamingError
from botocore.httpsession import URLLib3Session
from botocore.response import StreamingBody

from measurand.core.ports import Buffer
from measurand.storage.blobs.s3.credentials import GetKeys
from measurand.storage.blobs.s3.faults import Refused
from measurand.storage.blobs.s3.location import Location

__all__ = ["ANSWER_SECONDS", "Answer", "Body", "Client"]

ANSWER_SECONDS = 10.0
"""Longest silence of a store, and longest time to hand it half a megabyte."""
_CONNECT_SECONDS = 5.0
_KEPT = 32
_SLICE_BYTES = 512 << 10
"""Sent in one call of the system, which has to end in time."""
_SERVICE = "s3"
_UNSIGNED_BODY = Config(s3={"payload_signing_enabled": False})
"""Bodies have sums of their own, and hashing them would cost more than sending."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer.

    Parameters
    ----------
    headers : mapping
        Looked up by names in any case.
    """

    headers: Mapping[str, str]
    content: bytes

    def header(self, name: str) -> str:
        """Return a header that every such answer has."""
        return _header(self.headers, name)

    @property
    def xml(self) -> ElementTree.Element:
        """The document in it. Raises Refused when it tells of an error, as a long operation may do after its status."""
        tree = _parsed(self.content)
        if tree.tag == "Error":
            raise Refused(500, tree.findtext("Code", "InternalError"))
        return tree


class Client:
    """Makes requests.

    Parameters
    ----------
    get_keys : callable
        Called for every request; credentials may change at any time.
    """

    def __init__(self, location: Location, get_keys: GetKeys) -> None:
        self._location = location
        self._get_keys = get_keys
        self._session = URLLib3Session(
            verify=os.environ.get("AWS_CA_BUNDLE", True),
            timeout=(_CONNECT_SECONDS, ANSWER_SECONDS),
            max_pool_connections=_KEPT,
            socket_options=[(IPPROTO_TCP, TCP_NODELAY, 1)],  # else a head waits for the answer to the one before it
        )

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._session.close()

    def call(
        self,
        method: str,
        name: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Sequence[Buffer] = (),
    ) -> Answer:
        """Make a request and return its answer with all of its content.

        Parameters
        ----------
        name : str
            Of the object, in full; "" for the bucket.
        chunks : sequence of buffers
            The body, in order.
        """
        response = self._send(method, name, query or {}, headers or {}, chunks)
        try:
            content = StreamingBody(response.raw, None).read()
        finally:
            response.raw.close()
        if response.status_code >= 300:
            raise _refused(response.status_code, content)
        return Answer(response.headers, content)

    def stream(self, name: str, *, headers: Mapping[str, str]) -> Body:
        """Return the content of an object while it comes. Close it."""
        response = self._send("GET", name, {}, headers, ())
        body = Body(response)
        if response.status_code >= 300:
            try:
                content = StreamingBody(response.raw, None).read()
            finally:
                body.close()
            raise _refused(response.status_code, content)
        return body

    def source(self, name: str) -> str:
        """Return how a request to copy an object names it."""
        return quote(f"{self._location.bucket}/{name}", safe="/-_.~")

    def presigned(self, name: str, seconds: int) -> str:
        """Return a URL by which anybody can read an object for so long."""
        request = AWSRequest("GET", self._url(name, {}))
        S3SigV4QueryAuth(self._get_keys(), _SERVICE, self._location.region, seconds).add_auth(request)
        return str(request.url)

    def _send(
        self, method: str, name: str, query: Mapping[str, str], headers: Mapping[str, str], chunks: Sequence[Buffer]
    ) -> Any:
        """Return the answer, of which the head has come."""
        own = dict(headers)
        body: bytes | Iterator[Buffer] | None = None
        if method in ("PUT", "POST"):
            own["Content-Length"] = str(sum(map(len, chunks)))
            body = _slices(chunks) if chunks else b""
        request = AWSRequest(method, self._url(name, query), headers=own, data=body, stream_output=True)
        request.context["client_config"] = _UNSIGNED_BODY
        S3SigV4Auth(self._get_keys(), _SERVICE, self._location.region).add_auth(request)
        return self._session.send(request.prepare())

    def _url(self, name: str, query: Mapping[str, str]) -> str:
        url = f"{self._location.scheme}://{self._location.authority}{self._location.path(name)}"
        return f"{url}?{urlencode(sorted(query.items()), quote_via=quote, safe='-_.~')}" if query else url


class Body:
    """The content of an object on its way. One thread reads; any may close."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self._headers: Mapping[str, str] = response.headers
        self._raw = response.raw
        self._content = StreamingBody(response.raw, None)
        self._lock = threading.Lock()
        self._is_reading = False
        self._is_closed = False

    def header(self, name: str) -> str:
        """Return a header that every such answer has."""
        return _header(self._headers, name)

    @property
    def total(self) -> int:
        """How many bytes there are in all, of which the content is a range."""
        text = self.header("Content-Range").rpartition("/")[2]
        if not text.isdecimal():  # its head was cut off
            raise ResponseStreamingError(error="half an answer")
        return int(text)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only where the content or the connection ends."""
        with self._lock:
            if self._is_closed:
                return b""
            self._is_reading = True
        try:
            data: bytes = self._content.read(size)
        finally:
            self._stop_reading()
        return data

    def close(self) -> None:
        """Let go of the connection, at once even while another thread waits for bytes of it."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            if was_closed:
                return
            if not self._is_reading:
                self._raw.close()
            else:
                with suppress(ValueError, OSError):  # it has ended just now
                    self._raw.shutdown()

    def _stop_reading(self) -> None:
        with self._lock:
            self._is_reading = False
            if self._is_closed:
                self._raw.close()


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if value is None:  # its head was cut off
        raise ResponseStreamingError(error=f"an answer without {name}")
    return value


def _refused(status: int, content: bytes) -> Refused:
    code = ""
    with suppress(ElementTree.ParseError):
        code = _parsed(content).findtext("Code", "") if content else ""
    return Refused(status, code)


def _slices(chunks: Sequence[Buffer]) -> Iterator[Buffer]:
    """Yield the body in pieces that are not too large for the time that each may take."""
    for chunk in chunks:
        for start in range(0, len(chunk), _SLICE_BYTES):
            yield memoryview(chunk)[start : start + _SLICE_BYTES] if len(chunk) > _SLICE_BYTES else chunk


def _parsed(content: bytes) -> ElementTree.Element:
    """Return a document without its name space, which stores do not agree about."""
    tree = ElementTree.fromstring(content.strip())  # noqa: S314  # whoever holds all blobs need not be guarded against
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    return tree
