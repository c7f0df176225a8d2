"""What a deployment of MongoDB says of itself."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.mongod import Mongod, free_port, shared_mongod

from measurand.core.ports import Document
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.mongo import Mongo
from measurand.storage.documents.mongo.state import skew_seconds, state_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


async def test_a_deployment_that_is_well() -> None:
    mongod = shared_mongod()
    database = f"test-{uuid.uuid4().hex[:16]}"
    store = await Mongo.open(mongod.url_of(database), compile_pattern=compile_pattern)
    try:
        await store.insert("files", Document("a", "s", {}))
        state = await state_of(mongod.url_of(database))
        with mongod.client() as client:
            client[database]["files"].drop_index("scope")
        damaged = await state_of(mongod.url_of(database))
    finally:
        await store.close()
        with mongod.client() as client:
            client.drop_database(database)
    host = f"127.0.0.1:{mongod.port}"
    assert (state.release.split(".")[0], state.set_name, state.primary) == ("6", "rs0", host)
    assert (list(state.members), list(state.away), list(state.missing_indexes)) == ([host], [], [])
    assert 0 < state.free_bytes < state.total_bytes
    assert abs(state.skew_seconds) < 1  # both clocks are this machine's
    assert [text.partition(";")[0] for text in damaged.missing_indexes] == ['files: there is no index "scope"']


async def test_a_member_that_is_not_reached_is_named(tmp_path: Path) -> None:
    mongod = Mongod(tmp_path / "mongod")
    try:
        absent = f"127.0.0.1:{free_port()}"
        with mongod.client() as client:
            config = client.admin.command("replSetGetConfig")["config"]
            config["version"] += 1
            config["members"].append({"_id": 1, "host": absent, "priority": 0, "votes": 0})
            client.admin.command("replSetReconfig", config)
        state = await state_of(mongod.url_of("lab"))
    finally:
        mongod.kill()  # politely asked it would first look for a successor
    assert list(state.away) == [absent]
    assert len(state.members) == 2


@pytest.mark.parametrize(
    ("told", "skew"),
    [
        (NOON, 0.0),
        (NOON + SECOND, 0.0),
        (NOON + 61 * SECOND, 60.0),
        (NOON - 60 * SECOND, -60.0),
        ((NOON - 60 * SECOND).replace(tzinfo=None), -60.0),
    ],
)
def test_clocks_are_apart_by_what_the_time_of_the_question_does_not_explain(told: datetime, skew: float) -> None:
    assert skew_seconds(told, NOON, NOON + SECOND) == skew
