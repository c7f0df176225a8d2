"""What users were promised about documents: found by what is in them, the same in every time zone, never lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from tests.end_to_end import searching
from tests.end_to_end.counting import count_together
from tests.servers import Server

from measurand.client import Catalog, Client, Dataset, errors
from measurand.v1 import common_pb2, datasets_pb2, datasets_pb2_grpc

MiB = 1 << 20
SEED = 3


# ------------------------------------------------------------------------------------------------ metadata alone (ME-7)


def test_a_dataset_of_metadata_alone_is_whole(client: Client, lab: Catalog) -> None:
    run = lab.create("calibration", {"f": 5.1e9})
    assert lab.get(run.id).metadata == {"f": 5.1e9}
    assert [found.id for found in lab.find("metadata.f = 5.1e9")] == [run.id]
    assert (run.files(), lab.get(run.id).file_count) == ([], 0)
    with pytest.raises(errors.NotFound, match="no-such-run"):
        lab.get("no-such-run")
    with pytest.raises(errors.InvalidArgument, match="No such run!"):
        lab.get("No such run!")


# ------------------------------------------------------------------------------------------------------ search (ME-22)


@pytest.fixture(scope="module")
def found_in(shared: Server) -> Iterator[tuple[Catalog, dict[str, searching.Made]]]:
    """Two thousand generated datasets, in a catalog and as the oracle sees them."""
    with Client(shared.address) as client:
        lab = client.create_catalog(f"searched-{uuid.uuid4()}")
        made = {one.id: one for one in searching.generate(SEED, 2000)}
        lab.create_many(
            {"title": one.title, "kind": one.kind, "tags": one.tags, "metadata": one.metadata, "id": one.id}
            for one in made.values()
        )
        yield lab, made


@pytest.mark.parametrize("text", searching.QUERIES)
def test_a_search_gives_what_an_oracle_gives(found_in: tuple[Catalog, dict[str, searching.Made]], text: str) -> None:
    lab, made = found_in
    expected = {id_ for id_, one in made.items() if searching.QUERIES[text](one)}
    assert len(expected) > 0, f"the query says nothing about the documents of seed {SEED}"
    assert {run.id for run in lab.find(text, page_size=1000, fields=["id"])} == expected
    assert lab.count(text) == len(expected)


def test_there_are_forty_queries() -> None:
    assert len(searching.QUERIES) >= 40


@pytest.mark.parametrize("value", searching.HOSTILE)
def test_what_would_be_an_operator_of_a_store_is_data(
    found_in: tuple[Catalog, dict[str, searching.Made]], value: str
) -> None:
    lab, made = found_in
    expected = {id_ for id_, one in made.items() if one.metadata["hostile"] == value}
    assert {run.id for run in lab.find(f"metadata.hostile = {searching.quoted(value)}", fields=["id"])} == expected


def test_a_hostile_expression_ends_while_other_calls_go_on(lab: Catalog) -> None:
    lab.create_many({"title": "a" * 39 + "!"} for _ in range(500))
    with ThreadPoolExecutor(4) as threads:
        hostile = [threads.submit(lab.count, 'title =~ "(a+)+$"') for _ in range(4)]
        assert lab.count('title:"a!"') == 500
        # An engine that looks back would need 2^39 steps for each title and never come here.
        assert [call.result() for call in hostile] == [0] * 4


# ------------------------------------------------------------------------------------------------------- dates (ME-23)

WRITER = """
import sys
from datetime import datetime
from measurand.client import Client
with Client(sys.argv[1]) as client:
    lab = client.catalog(sys.argv[2])
    for hour in (8, 9, 12, 13, 14):  # UTC: 23:00 the day before, 0:00, 3:00, 4:00, 5:00
        at = datetime(2026, 7, 30, hour)
        lab.create(f"at {hour}", {"at": at}, started=at)
"""

READER = """
import json, sys
from datetime import datetime
from measurand.client import Client
with Client(sys.argv[1]) as client:
    lab = client.catalog(sys.argv[2])
    ids = lambda text: sorted(run.title for run in lab.find(text))
    end = "2026-07-30T04:10:00Z"
    print(json.dumps({
        "system": ids(f'started >= "2026-07-30T00:00:00Z" AND started < "{end}"'),
        "metadata": ids(f'metadata.at >= timestamp("2026-07-30T00:00:00Z") AND metadata.at < timestamp("{end}")'),
        "instants": sorted(run.metadata["at"].timestamp() for run in lab.find()),
        "started": sorted(run.started.timestamp() for run in lab.find()),
        "created": ids('created > ago("1h")'),
    }))
"""

FOLD = """
import sys
from datetime import datetime
from measurand.client import Client
with Client(sys.argv[1]) as client:
    clocks = [datetime(2026, 11, 1, 1, 30, fold=fold) for fold in (0, 1)]
    client.catalog(sys.argv[2]).create("fold", {"at": clocks})
"""


def in_zone(zone: str, script: str, server: Server, lab: Catalog) -> str:
    command = [sys.executable, "-c", script, server.address, lab.id]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, env={**os.environ, "TZ": zone}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_reader_in_another_time_zone_finds_the_same(shared: Server, lab: Catalog) -> None:
    in_zone("Asia/Tokyo", WRITER, shared, lab)
    told = {zone: json.loads(in_zone(zone, READER, shared, lab)) for zone in ("Asia/Tokyo", "America/New_York")}
    assert told["Asia/Tokyo"] == told["America/New_York"]
    midnight = datetime(2026, 7, 30, tzinfo=UTC).timestamp()
    assert told["Asia/Tokyo"] == {
        "system": ["at 12", "at 13", "at 9"],
        "metadata": ["at 12", "at 13", "at 9"],
        "instants": [midnight + hour * 3600 for hour in (-1, 0, 3, 4, 5)],
        "started": [midnight + hour * 3600 for hour in (-1, 0, 3, 4, 5)],
        "created": ["at 12", "at 13", "at 14", "at 8", "at 9"],
    }


def test_the_hour_that_comes_twice_is_two_hours(shared: Server, lab: Catalog) -> None:
    in_zone("America/New_York", FOLD, shared, lab)
    (run,) = lab.find()
    assert run.metadata["at"] == [datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (5, 6)]


# -------------------------------------------------------------------------------------- pages and projection (ME-24)


@pytest.mark.parametrize("order_by", ["", "-created,title", "title", "metadata.n", "-metadata.n,title"])
def test_pages_show_what_was_there_once_while_others_come(lab: Catalog, order_by: str) -> None:
    made = lab.create_many({"title": f"{n % 7}", "metadata": {"n": n % 5}} for n in range(300))
    there = {run.id for run in made if isinstance(run, Dataset)}
    seen = []
    for position, run in enumerate(lab.find(order_by=order_by, page_size=20, fields=["title"], limit=1000)):
        seen.append(run.id)
        if position % 10 == 0 and position < 300:  # before, after and among those that are still to come
            lab.create_many({"title": f"{n}", "metadata": {"n": n}} for n in (-1, 3, 99))
    assert len(seen) == len(set(seen))
    assert there <= set(seen)


def test_fields_are_chosen_left_out_and_never_mixed(lab: Catalog) -> None:
    lab.create("w7", {"device": {"wafer": 7, "chip": "c"}, "note": "n"}, tags=["t"])
    (chosen,) = lab.find(fields=["title", "metadata.device.wafer"])
    assert (chosen.title, chosen.metadata, chosen.tags) == ("w7", {"device": {"wafer": 7}}, ())
    (without,) = lab.find(fields=["-metadata.device.chip", "-tags"])
    assert (without.title, without.tags) == ("w7", ())
    assert without.metadata == {"device": {"wafer": 7}, "note": "n"}
    with pytest.raises(errors.InvalidArgument, match="-note"):
        lab.find(fields=["title", "-note"]).all()


def test_a_projected_page_of_large_documents_is_small(shared: Server, lab: Catalog) -> None:
    lab.create_many({"title": f"{n}", "metadata": {"small": n, "large": "x" * MiB}} for n in range(20))
    request = datasets_pb2.ListDatasetsRequest(
        parent=f"catalogs/{lab.id}",
        page_size=100,
        read_mask=FieldMask(paths=["title", "metadata"]),
        metadata_paths=["small"],
        document_form=common_pb2.DOCUMENT_FORM_JSON,
    )
    with grpc.insecure_channel(shared.address) as channel:
        page = datasets_pb2_grpc.DatasetServiceStub(channel).ListDatasets(request)
    assert len(page.datasets) == 20
    assert page.ByteSize() < 20 * 1024


# ------------------------------------------------------------------------------------------- versioned patches (ME-25)


def test_counting_by_many_threads_with_etags_loses_nothing(lab: Catalog) -> None:
    count_together(lab, rounds=2)


def test_two_writers_of_different_keys_lose_nothing_without_etags(lab: Catalog) -> None:
    run = lab.create("shared", {})
    together = threading.Barrier(2)

    def write(key: str) -> None:
        own = lab.get(run.id)
        for number in range(100):
            together.wait(60)
            own.update({key: {str(number): number}}, if_match=None)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, ["left", "right"]))
    whole = {str(number): number for number in range(100)}
    assert run.refresh().metadata == {"left": whole, "right": whole}


def test_the_etag_of_a_handle_guards_its_update(lab: Catalog) -> None:
    run, other = (made := lab.create("one", {"a": {"b": 1, "c": 2}, "d": 3})), lab.get(made.id)
    run.update({"a": {"b": 5}, "d": None})
    assert run.metadata == {"a": {"b": 5, "c": 2}}
    with pytest.raises(errors.Conflict, match=other.id):
        other.update({"a": {"b": 6}})
    other.update({"a": {"b": 6}}, if_match=run.etag)
    with pytest.raises(errors.Conflict):
        run.replace_metadata({})
    run.add_tags("kept")
    assert (run.refresh().metadata, run.tags) == ({"a": {"b": 6, "c": 2}}, ("kept",))
    newest = run.history()[0]
    assert newest.author and newest.created is not None
