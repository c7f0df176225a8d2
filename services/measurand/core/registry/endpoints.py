"""Bounds of what a registration says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

from measurand.core.fields import check_labels
from measurand.core.registry.documents import RegistrationDraft
from measurand.wire.errors import InvalidArgument

__all__ = ["MAX_METADATA_BYTES", "check_draft", "check_endpoint"]

MAX_METADATA_BYTES = 64 * 1024
MAX_ENDPOINT = 2000
MAX_ENDPOINTS = 16
MIN_TTL = timedelta(seconds=1)
MAX_TTL = timedelta(hours=24)

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\x9f\\]")


def check_draft(draft: RegistrationDraft) -> RegistrationDraft:
    """Return what a caller says as it is kept, its metadata apart. Raises InvalidArgument."""
    if len(draft.other_endpoints) > MAX_ENDPOINTS:
        raise InvalidArgument(
            f"registration.other_endpoints: {len(draft.other_endpoints)}; the most is {MAX_ENDPOINTS}",
            field="registration.other_endpoints",
        )
    for endpoint in draft.other_endpoints:
        if not endpoint:
            raise _fault("registration.other_endpoints", endpoint, "leave an empty one out")
        check_endpoint(endpoint, field="registration.other_endpoints")
    if draft.ttl is not None and not MIN_TTL <= draft.ttl <= MAX_TTL:
        raise InvalidArgument(
            f"registration.ttl: {draft.ttl.total_seconds():g} s is not within 1 second and 24 hours; leave it out for "
            "an entry that lives until it is released",
            field="registration.ttl",
        )
    return replace(
        draft,
        endpoint=check_endpoint(draft.endpoint, field="registration.endpoint"),
        labels=check_labels(draft.labels, field="registration.labels"),
    )


def check_endpoint(endpoint: str, *, field: str) -> str:
    """Return a URL with a scheme and a host and without credentials, or nothing. Raises InvalidArgument."""
    if not endpoint:
        return ""
    if len(endpoint) > MAX_ENDPOINT:
        raise InvalidArgument(f"{field}: {len(endpoint)} characters; the most is {MAX_ENDPOINT}", field=field)
    if _UNSEEN.search(endpoint):
        raise _fault(field, endpoint, "quote spaces, backslashes and control characters in it")
    if not _SCHEME.match(endpoint):
        raise _fault(field, endpoint, "begin with a scheme in small letters, as in grpc://host:port")
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _fault(field, endpoint, "the host or the port in it is malformed") from None
    if "@" in parts.netloc:
        # Not shown: it may be a password.
        raise InvalidArgument(
            f"{field}: a URL with a user or a password in it would tell them to everybody who may read the registry; "
            "leave them out",
            field=field,
        )
    if not host:
        raise _fault(field, endpoint, "name a host that others can reach")
    return endpoint


def _fault(field: str, endpoint: str, advice: str) -> InvalidArgument:
    shown = endpoint if len(endpoint) <= 200 else f"{endpoint[:200]}…"
    if "@" in shown:  # the fault was found before the credentials were
        shown = "…"
    return InvalidArgument(f"{field}: {shown!r} is no place where something is served; {advice}", field=field)
