"""Where a store lies: the URL that names a bucket, and how requests for it are addressed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args
from urllib.parse import parse_qsl, quote, urlsplit

from measurand.wire.errors import InvalidArgument

__all__ = ["Addressing", "Location", "parse_location"]

Addressing = Literal["path", "virtual"]

_FORM = "s3://BUCKET/PREFIX?endpoint=http://HOST:PORT&region=REGION"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_REGION = re.compile(r"[a-z0-9-]+")
_LONGEST_PREFIX = 400
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a bucket.

    Parameters
    ----------
    prefix : str
        What the names of all its objects begin with, without a slash at the end; "" for the whole bucket.
    secure : bool
        By TLS.
    host, port : str, int
        Where the S3 service is.
    addressing : str
        `path`: the bucket is the first word of the path. `virtual`: of the host name.
    """

    bucket: str
    prefix: str
    secure: bool
    host: str
    port: int
    region: str
    addressing: Addressing

    @property
    def place(self) -> str:
        """Bucket and prefix, for people."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    @property
    def server(self) -> str:
        """The host that requests go to."""
        return f"{self.bucket}.{self.host}" if self.addressing == "virtual" else self.host

    @property
    def authority(self) -> str:
        """Host and port as requests name them."""
        host = f"[{self.server}]" if ":" in self.server else self.server
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def scheme(self) -> str:
        return "https" if self.secure else "http"

    def name(self, name: str) -> str:
        """Return the full name of an object of this place."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def path(self, name: str) -> str:
        """Return the path of a request for the object with this full name, or for the bucket if it is empty."""
        bucket = "" if self.addressing == "virtual" else f"/{self.bucket}"
        return f"{bucket}/{quote(name, safe='/-_.~')}" if name or not bucket else bucket


def parse_location(url: str) -> Location:
    """Return the place that `s3://BUCKET/PREFIX?endpoint=URL&region=REGION&addressing=path|virtual` names.

    Without an endpoint it is AWS. Raises InvalidArgument, with a text that does not repeat the URL: a secret may have
    been put there.
    """
    try:
        parts = urlsplit(url)
        has_port = parts.port is not None
    except ValueError as error:
        raise _wrong(f"is no URL; write {_FORM}") from error
    if parts.scheme != "s3":
        raise _wrong(f"does not begin with s3://; write {_FORM}")
    if "@" in parts.netloc:
        raise _wrong(
            "has credentials in it; take them out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if has_port or not _BUCKET.fullmatch(bucket):
        raise _wrong(f"does not name a bucket; write {_FORM}")
    if parts.fragment or len(prefix) > _LONGEST_PREFIX or (prefix and not _is_prefix(prefix)):
        raise _wrong("has a prefix with other than letters, digits, '_', '.', '-' between single slashes")
    options = _options(parts.query)
    region = options.get("region", "us-east-1")
    if not _REGION.fullmatch(region):
        raise _wrong("has a region that is none; write such as region=eu-central-1")
    secure, host, port = _endpoint(options.get("endpoint", f"https://s3.{region}.amazonaws.com"))
    addressing = options.get("addressing", "path" if "endpoint" in options else "virtual")
    if addressing not in get_args(Addressing):
        raise _wrong("has an addressing that is none; write addressing=path or addressing=virtual")
    return Location(bucket, prefix, secure, host, port, region, cast("Addressing", addressing))


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError as error:
        raise _wrong(f"has options that are no NAME=VALUE; write {_FORM}") from error
    for name, _ in pairs:
        if name not in ("endpoint", "region", "addressing"):
            raise _wrong(f"has the option {name[:40]!r}, which is none; there are endpoint, region and addressing")
    options = dict(pairs)
    if len(options) < len(pairs):
        raise _wrong("has an option twice")
    return options


def _endpoint(endpoint: str) -> tuple[bool, str, int]:
    wrong = _wrong("has an endpoint that is no http://HOST:PORT or https://HOST:PORT")
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise wrong from error
    odd = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in _PORTS or not parts.hostname or odd:
        raise wrong
    return parts.scheme == "https", parts.hostname, port or _PORTS[parts.scheme]


def _is_prefix(prefix: str) -> bool:
    return bool(_PREFIX.fullmatch(prefix)) and not {".", ".."} & set(prefix.split("/"))


def _wrong(what: str) -> InvalidArgument:
    return InvalidArgument(f"the URL of the S3 store {what}", field="blobs")
