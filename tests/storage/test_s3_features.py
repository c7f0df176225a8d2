"""What an S3 service can do, and whose blobs lie in a place: found out without leaving anything there."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from tests.seaweed import shared_seaweed

from measurand.storage.blobs.s3 import S3, Location, parse_location
from measurand.storage.blobs.s3 import features as module
from measurand.storage.blobs.s3.client import Answer, Client
from measurand.storage.blobs.s3.faults import Refused
from measurand.storage.blobs.s3.features import Features, features_of, owner_of
from measurand.wire.errors import Unavailable

BUCKET = "features"


@pytest.fixture
def location(monkeypatch: pytest.MonkeyPatch) -> Location:
    """An empty place."""
    seaweed = shared_seaweed()
    seaweed.make_bucket(BUCKET)
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    return parse_location(seaweed.url_of(BUCKET, uuid.uuid4().hex))


def left_in(location: Location) -> list[str]:
    with closing(shared_seaweed().client()) as client:
        objects = client.list_objects_v2(Bucket=BUCKET, Prefix=location.prefix).get("Contents", [])
        uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=location.prefix).get("Uploads", [])
    return [item["Key"] for item in [*objects, *uploads]]


def test_a_service_that_can_do_all_of_it(location: Location) -> None:
    found = features_of(location, "probe")
    assert found.server.startswith("SeaweedFS")
    assert found == Features(found.server, True, True, True, True)
    assert left_in(location) == []


class Simple(Client):
    """A client of a service that knows neither conditions nor checksums, and does not list uploads."""

    def call(self, method: str, name: str, query: Mapping[str, str] | None = None, **more: Any) -> Answer:
        if method == "GET" and query and "uploads" in query:
            raise Refused(501, "NotImplemented")
        return super().call(method, name, query, **{**more, "headers": {}})


class Refusing(Client):
    """A client of a service that refuses what it does not know."""

    def call(self, method: str, name: str, query: Mapping[str, str] | None = None, **more: Any) -> Answer:
        if more.get("headers"):
            raise Refused(501, "NotImplemented")
        return super().call(method, name, query, **more)


def test_a_service_that_can_only_do_what_is_needed(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Client", Simple)
    assert features_of(location, "probe") == Features(features_of(location, "probe").server, True, False, False, False)
    assert left_in(location) == []


def test_a_service_that_refuses_conditions_has_none(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Client", Refusing)
    assert not features_of(location, "probe").has_conditional_put
    assert left_in(location) == []


def test_who_may_not_write_is_told_so(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in shared_seaweed().reader_environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable, match="may not do this"):
        features_of(location, "probe")


async def test_the_owner_is_told_and_not_made(location: Location) -> None:
    for _ in range(2):
        assert await asyncio.to_thread(owner_of, location) == ""
    store = S3(location, in_thread=asyncio.to_thread)
    try:
        await store.claim("one")
    finally:
        await store.close()
    assert await asyncio.to_thread(owner_of, location) == "one"
