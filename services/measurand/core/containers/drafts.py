"""What a caller says of a container, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from measurand.core.containers.documents import Container, Kind
from measurand.core.fields import check_labels, check_text
from measurand.wire.errors import InvalidArgument

__all__ = ["checked_draft", "kind_of"]

MAX_TITLE = 1000
MAX_ZONE = 100
MAX_URI = 2000
MAX_WEIGHT = 1000.0
_KINDS: Mapping[str, Kind] = {"file": "directory", "s3": "s3", "grpc": "remote", "memory": "memory"}
_FORMS = "file:///FOLDER, s3://BUCKET/PREFIX?endpoint=http://HOST:PORT or grpc://HOST:PORT"
_SECRETS = ("password", "secret", "token", "key")


def checked_draft(draft: Container, *, with_uri: bool = True) -> Container:
    """Return what a caller says of a container as it is kept. Raises InvalidArgument naming the field."""
    for name, value, most in (
        ("weight", draft.weight, MAX_WEIGHT),
        ("annual_failure_rate", draft.annual_failure_rate, 1.0),
        ("write_bandwidth", draft.write_bandwidth, 1e15),
        ("read_bandwidth", draft.read_bandwidth, 1e15),
        ("max_bytes", draft.max_bytes, 2.0**63),
    ):
        if not (math.isfinite(value) and 0 <= value <= most):
            raise InvalidArgument(f"container.{name}: {value} is not within 0 and {most:g}", field=f"container.{name}")
    if len(draft.uri) > MAX_URI:
        raise InvalidArgument(
            f"container.uri: {len(draft.uri)} characters; the most is {MAX_URI}", field="container.uri"
        )
    return replace(
        draft,
        kind=kind_of(draft.uri) if with_uri else draft.kind,
        title=check_text(draft.title, field="container.title", most=MAX_TITLE),
        zone=check_text(draft.zone, field="container.zone", most=MAX_ZONE),
        labels=check_labels(draft.labels, field="container.labels"),
        weight=draft.weight or 1.0,
    )


def kind_of(uri: str, *, field: str = "container.uri") -> Kind:
    """Return what sort of place a URI names. Raises InvalidArgument."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise InvalidArgument(f"{field}: {uri[:200]!r} is malformed; write {_FORMS}", field=field) from None
    kind = _KINDS.get(parts.scheme)
    if kind is None or (kind == "remote" and (not parts.hostname or not port)) or (kind == "s3" and not parts.netloc):
        raise InvalidArgument(f"{field}: {uri[:200]!r} is no place for a container; write {_FORMS}", field=field)
    if kind == "directory" and (parts.netloc or not parts.path.startswith("/") or parts.path == "/"):
        raise InvalidArgument(f"{field}: {uri[:200]!r} names no folder; write file:///FOLDER", field=field)
    if parts.password or (parts.username and kind != "s3") or _names_secret(parts.query):
        raise InvalidArgument(
            f"{field}: leave secrets out, which everybody could read; servers have them in their settings", field=field
        )
    return kind


def _names_secret(query: str) -> bool:
    return any(word in key.lower() for key, _ in parse_qsl(query) for word in _SECRETS)
