"""What the page of metrics tells: of calls, of both stores, and of the work that one server does for all."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.core.rooms import make_rooms, prepare
from tests.servers import in_process, memory_config

from measurand.core.counters import Counters
from measurand.core.file_documents import Digests, FileSpec
from measurand.core.filters.tree import Filter
from measurand.core.principal import LOCAL_USER
from measurand.server.metrics import Figure, Metrics
from measurand.server.open_uploads import OpenUploads
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.v1 import catalogs_pb2, catalogs_pb2_grpc
from measurand.wire.errors import Unavailable


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return what the page says, or None where it says nothing."""
    for family in text_string_to_metric_families(metrics.page().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def test_running_calls_are_told_by_their_methods() -> None:
    metrics = Metrics()
    metrics.begin("/a")
    metrics.begin("/a")
    metrics.begin("/b")
    metrics.end("/a", "OK", "", 0.5)
    assert value(metrics, "measurand_calls_running", method="/a") == 1
    assert value(metrics, "measurand_calls_running", method="/b") == 1
    assert value(metrics, "measurand_calls_total", method="/a", code="OK", reason="") == 1
    assert value(metrics, "measurand_call_seconds_sum", method="/a") == 0.5


def test_calls_of_the_document_store_are_told_by_collection_and_verb_and_failures_by_reason() -> None:
    metrics = Metrics()
    metrics.asked("mongodb", "files", "find", 0.25, "")
    metrics.asked("mongodb", "files", "find", 0.5, "STORE_UNAVAILABLE")
    of_find = {"store": "mongodb", "collection": "files", "verb": "find"}
    assert value(metrics, "measurand_document_seconds_count", **of_find) == 2
    assert value(metrics, "measurand_document_seconds_sum", **of_find) == 0.75
    assert value(metrics, "measurand_document_errors_total", **of_find, reason="STORE_UNAVAILABLE") == 1


def test_figures_of_the_shared_work_are_told_by_the_server_that_does_it_and_only_while_they_are_known() -> None:
    metrics, leads = Metrics(), False
    known: float | None = 7.0
    metrics.follow(lambda: leads, [Figure("measurand_things_open", "Things.", lambda: known)])
    assert (value(metrics, "measurand_leading"), value(metrics, "measurand_things_open")) == (0, None)
    leads = True
    assert (value(metrics, "measurand_leading"), value(metrics, "measurand_things_open")) == (1, 7)
    known = None
    assert (value(metrics, "measurand_leading"), value(metrics, "measurand_things_open")) == (1, None)


def test_figures_that_only_grow_are_told_as_counts() -> None:
    metrics = Metrics()
    metrics.show([Figure("measurand_tries", "Tries.", lambda: 3, is_count=True)])
    assert value(metrics, "measurand_tries_total") == 3
    assert "# TYPE measurand_tries_total counter" in metrics.page().decode()


async def test_a_server_tells_of_its_calls_and_of_what_they_asked_of_its_stores() -> None:
    async with in_process(memory_config()) as process:
        async with grpc.aio.insecure_channel(str(process.address)) as channel:
            catalogs = catalogs_pb2_grpc.CatalogServiceStub(channel)
            await catalogs.CreateCatalog(catalogs_pb2.CreateCatalogRequest(catalog_id="lab"))
        method = "/measurand.v1.CatalogService/CreateCatalog"
        assert value(process.metrics, "measurand_calls_total", method=method, code="OK", reason="") == 1
        of_insert = {"store": "memory", "collection": "catalogs", "verb": "insert_many"}
        assert value(process.metrics, "measurand_document_seconds_count", **of_insert) == 1
        assert value(process.metrics, "measurand_leading") == 1


async def test_open_uploads_are_those_that_are_begun_and_not_finished() -> None:
    rooms = make_rooms()
    await prepare(rooms)
    open_uploads = OpenUploads(rooms.documents)
    assert open_uploads.last() is None
    begun = [await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file(path)), None, Digests(), "") for path in "abc"]
    assert await open_uploads.count() == 3
    await rooms.uploads.ends.abort(LOCAL_USER, begun[0].id)
    assert open_uploads.last() == 3  # as it was counted
    assert await open_uploads.count() == 2


async def test_an_old_number_of_open_uploads_does_not_stand_for_one_that_could_not_be_counted() -> None:
    class Away(Memory):
        is_away = False

        async def count(
            self, collection: str, *, scopes: object = None, where: Filter | None = None, key_prefix: str = "",
            most: int | None = None,
        ) -> int:  # fmt: skip
            if self.is_away:
                raise Unavailable("the store is away")
            return await super().count(collection, where=where, most=most)

    documents = Away(compile_pattern)
    open_uploads = OpenUploads(documents)
    assert await open_uploads.count() == 0
    documents.is_away = True
    with pytest.raises(Unavailable):
        await open_uploads.count()
    assert open_uploads.last() is None


async def test_the_lag_of_the_counts_is_the_time_since_all_of_them_were_right() -> None:
    rooms = make_rooms()
    await prepare(rooms)
    counters = Counters(rooms.documents, rooms.means, rooms.limits)
    assert counters.lag() is None
    following = asyncio.create_task(counters.run())
    async with asyncio.timeout(10):
        while counters.lag() is None:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    assert counters.lag() == 0
    rooms.clock.move(timedelta(seconds=40))
    assert counters.lag() == 40
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
