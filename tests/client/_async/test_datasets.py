from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.stores import DURABLE

from measurand.client import AsyncCatalog, AsyncDataset, errors
from measurand.client._transport import aio

pytestmark = pytest.mark.stores(*DURABLE)


async def test_a_dataset_comes_back_as_it_went_in(lab: AsyncCatalog) -> None:
    parent = await lab.create("parent")
    start = datetime(2026, 11, 21, 9, tzinfo=UTC)
    metadata = {"t": 0.012, "n": 5, "f": 5.0, "big": 2**70, "nested": {"$a.b": [None, b"\x00"]}, "x": np.float32(2)}
    made = await lab.create(
        "qubit T1",
        metadata,
        kind="run",
        tags=["t1", "a"],
        parents=[parent, parent.id],
        started=start,
        ended=start + timedelta(minutes=5),
    )
    found = await lab.get(made.id)
    assert found == made
    assert found.metadata == {**metadata, "x": 2.0}
    assert (found.title, found.kind, found.tags, found.revision, found.state) == (
        "qubit T1",
        "run",
        ("a", "t1"),
        1,
        "open",
    )
    assert found.parents == (parent.name,)
    assert (found.started, found.ended) == (start, start + timedelta(minutes=5))
    assert found.created is not None and found.created.tzinfo is not None
    assert (found.created_by, found.deleted, found.purge_time) == ("users/local", None, None)


async def test_an_id_of_ones_own_is_taken_once(lab: AsyncCatalog) -> None:
    assert (await lab.create("a", id="run-17")).id == "run-17"
    with pytest.raises(errors.AlreadyExists, match="run-17"):
        await lab.create("b", id="run-17")


async def test_a_patch_merges_and_none_removes(run: AsyncDataset) -> None:
    await run.replace_metadata({"a": {"b": 1, "c": 2}, "d": 3})
    await run.update({"a": {"b": None, "e": [1]}, "d": None}, title="new", comment="tidied")
    assert (run.metadata, run.title) == ({"a": {"c": 2, "e": [1]}}, "new")
    assert (await run.history())[0].comment == "tidied"


async def test_a_title_can_be_emptied(run: AsyncDataset) -> None:
    await run.update(title="")
    assert run.title == ""


async def test_a_change_since_the_handle_was_read_is_a_conflict(lab: AsyncCatalog, run: AsyncDataset) -> None:
    other = await lab.get(run.id)
    await run.update({"a": 1})
    with pytest.raises(errors.Conflict) as caught:
        await other.update({"b": 2})
    assert caught.value.reason == "ETAG_MISMATCH"
    await other.update({"b": 2}, if_match=None)
    assert other.metadata == {"a": 1, "b": 2}
    with pytest.raises(errors.Conflict):
        await other.update({"c": 3}, if_match=run.etag)


async def test_tags_are_changed_whatever_else_has_changed(lab: AsyncCatalog, run: AsyncDataset) -> None:
    other = await lab.get(run.id)
    await run.add_tags("b", "a")
    await other.add_tags("c")
    await other.remove_tags("a")
    assert other.tags == ("b", "c")


async def test_counting_in_parallel_loses_nothing(lab: AsyncCatalog, run: AsyncDataset) -> None:
    await run.update({"n": 0})

    async def count(_: int) -> None:
        handle = await lab.get(run.id)
        for _ in range(5):
            while True:
                try:
                    await handle.update({"n": handle.metadata["n"] + 1})
                    break
                except errors.Conflict:
                    await handle.refresh()

    await aio.parallel(count, range(4), bound=4)
    await run.refresh()
    assert (run.metadata, run.revision) == ({"n": 20}, 22)


async def test_every_change_is_in_the_history_and_can_be_read(run: AsyncDataset) -> None:
    await run.update({"a": 1})
    await run.add_tags("t")
    history = await run.history()
    assert [revision.number for revision in history] == [3, 2, 1]
    assert history[1].changed_paths == ("metadata.a",)
    assert history[0].author == "users/local"
    first = await run.at(1)
    assert (first.metadata, first.tags, first.revision) == ({}, (), 1)
    with pytest.raises(errors.NotFound):
        await run.at(99)
    with pytest.raises(errors.Conflict):
        await first.update({"b": 1})


async def test_a_deleted_dataset_is_hidden_and_comes_back(lab: AsyncCatalog, run: AsyncDataset) -> None:
    await run.delete()
    assert run.state == "deleted" and run.purge_time is not None
    with pytest.raises(errors.ResourceDeleted):
        await lab.get(run.id)
    assert await lab.count() == 0
    assert (await lab.get(run.id, show_deleted=True)).state == "deleted"
    back = await lab.undelete(run.id)
    assert back is not None and back.state == "open"
    await run.refresh()
    await run.delete()
    await run.undelete()
    assert run.state == "open"


async def test_what_is_purged_is_gone(lab: AsyncCatalog, run: AsyncDataset) -> None:
    with pytest.raises(errors.FailedPrecondition):
        await run.purge()
    await run.purge(force=True)
    with pytest.raises(errors.NotFound):
        await lab.undelete(run.id)


async def test_a_document_too_large_says_both_sizes(lab: AsyncCatalog) -> None:
    with pytest.raises(errors.TooLarge) as caught:
        await lab.create("x", {"text": "x" * 5_000_000})
    assert caught.value.details.keys() >= {"limit", "actual"}


async def test_what_no_document_holds_is_named_by_its_path(lab: AsyncCatalog) -> None:
    with pytest.raises(errors.DocumentInvalid) as caught:
        await lab.create("x", {"deep": [{"odd": object()}]})
    assert caught.value.details["path"] == "deep.0.odd"


async def test_handles_show_what_they_are(lab: AsyncCatalog) -> None:
    run = await lab.create("<b>T1</b>", {"t": {"deep": "<i>"}}, tags=["good"])
    assert run.id in repr(run) and "good" in repr(run)
    html = run._repr_html_()
    assert "&lt;b&gt;T1" in html and "&lt;i&gt;" in html and "<b>" not in html
    assert lab.id in repr(lab) and lab.id in lab._repr_html_()


async def test_fields_metadata_and_tags_change_in_one_revision(lab: AsyncCatalog) -> None:
    run = await lab.create("run", {"a": 1}, tags=["new", "raw"])
    await run.update({"a": 2}, title="better", add_tags=["good"], remove_tags=["raw"])
    assert (run.revision, run.title, run.metadata, run.tags) == (2, "better", {"a": 2}, ("good", "new"))
