"""What only the SQLite store of documents has; what it shares with the others is in `tests/conformance`."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from measurand.core.ports import Document
from measurand.core.view import Entry, Scalar, View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.sqlite import Sqlite
from measurand.storage.documents.sqlite.readers import Readers
from measurand.storage.documents.sqlite.schema import FORMAT, connect
from measurand.wire.errors import DataLoss, FailedPrecondition, HistoryTrimmed, StoreFull, Unavailable

WEEK = timedelta(days=7)


@asynccontextmanager
async def opened(
    path: Path,
    *,
    history: timedelta = WEEK,
    max_bytes: int | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[Sqlite]:
    store = await Sqlite.open(path, compile_pattern=compile_pattern, history=history, max_bytes=max_bytes, now=now)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "documents.db"


def document(key: str, *, text: str = "", view: View = ()) -> Document:
    return Document(key, "s", {"key": key}, text, view)


def content(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


async def keys_after(store: Sqlite, token: str) -> Sequence[str]:
    return [change.key for change in (await store.changes("things", after=token)).changes]


async def test_it_prints_as_the_word_and_the_file(path: Path) -> None:
    async with opened(path) as store:
        assert repr(store) == "sqlite('documents.db')"


async def test_all_is_there_when_it_is_opened_again_and_tokens_go_on(path: Path) -> None:
    async with opened(path) as store:
        token = (await store.changes("things", after=None)).token
        await store.insert("things", document("a", view=[Entry("n", Scalar("n", 1))]))
        await store.replace("things", document("a", text="new"), expected_revision=1)
    async with opened(path) as store:
        assert await store.fetch("things", "a") == Document("a", "s", {"key": "a"}, "new", (), 2)
        assert await keys_after(store, token) == ["a", "a"]
        await store.insert("things", document("b"))
        assert await keys_after(store, token) == ["a", "a", "b"]


async def test_a_token_of_another_database_is_no_place_in_this_one(path: Path, tmp_path: Path) -> None:
    async with opened(path) as store, opened(tmp_path / "other.db") as other:
        token = (await other.changes("things", after=None)).token
        with pytest.raises(HistoryTrimmed):
            await store.changes("things", after=token)


async def test_what_a_restored_backup_has_not_seen_yet_must_be_listed_anew(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    async with opened(path) as store:
        await store.insert("things", document("a"))
    shutil.copyfile(path, backup)
    async with opened(path) as store:
        await store.insert("things", document("b"))
        token = (await store.changes("things", after=None)).token
    async with opened(backup) as store:
        with pytest.raises(HistoryTrimmed):
            await store.changes("things", after=token)


def test_a_commit_syncs_the_log(path: Path) -> None:
    connection = connect(path, cache_bytes=1024 * 1024)
    full = 2
    assert connection.execute("PRAGMA synchronous").fetchone() == (full,)
    connection.close()


async def test_the_log_is_written_ahead(path: Path) -> None:
    async with opened(path) as store:
        await store.insert("things", document("a"))
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


async def test_a_database_of_a_newer_format_is_refused_and_left_alone(path: Path) -> None:
    async with opened(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    before = content(path)
    with pytest.raises(FailedPrecondition, match="upgrade measurand") as caught:
        await Sqlite.open(path, compile_pattern=compile_pattern)
    assert caught.value.details["state"] == f"format {FORMAT + 1}"
    assert content(path) == before


async def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    before = content(path)
    with pytest.raises(FailedPrecondition, match="another program"):
        await Sqlite.open(path, compile_pattern=compile_pattern)
    assert content(path) == before


async def test_a_file_that_is_no_database_is_said_to_be_damaged(path: Path) -> None:
    write(path, b"no database at all " * 100)
    with pytest.raises(DataLoss, match="restore it from a backup"):
        await Sqlite.open(path, compile_pattern=compile_pattern)


async def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await Sqlite.open(tmp_path / "nowhere" / "documents.db", compile_pattern=compile_pattern)


async def test_a_full_store_says_so_and_goes_on_with_what_fits(path: Path) -> None:
    async with opened(path, max_bytes=1024 * 1024) as store:
        big, small = document("big", text="x" * 2 * 1024 * 1024), document("small")
        answers = await asyncio.gather(
            store.insert("things", document("first")),
            store.insert("things", big),
            store.insert("things", small),
            return_exceptions=True,
        )
        assert isinstance(answers[1], StoreFull)
        assert [isinstance(answer, Document) for answer in answers] == [True, False, True]
        assert await store.fetch("things", "big") is None
        assert await store.remove("things", "first")
        await store.insert("things", document("after"))
        assert [found.document.key for found in await store.find("things")] == ["after", "small"]


async def test_a_store_that_was_filled_takes_more_when_some_is_removed(path: Path) -> None:
    async with opened(path, max_bytes=1024 * 1024) as store:
        documents = [document(f"{number}", text="x" * 100_000) for number in range(20)]
        answers = await asyncio.gather(*(store.insert("things", each) for each in documents), return_exceptions=True)
        stored = [answer for answer in answers if isinstance(answer, Document)]
        assert 3 < len(stored) < 11
        assert sum(isinstance(answer, StoreFull) for answer in answers) == 20 - len(stored)
        assert await store.count("things") == len(stored)
        assert await store.remove("things", "0")
        await store.insert("things", document("again", text="x" * 90_000))


async def test_the_fault_of_one_request_undoes_nothing_of_those_beside_it(path: Path) -> None:
    async with opened(path) as store:
        view = [Entry(f"fresh {number}", Scalar("n", number)) for number in range(5)]
        lone = [*view, Entry("late", Scalar("s", "\ud800"))]  # found out when its first rows are already written
        answers = await asyncio.gather(
            store.insert("fresh", document("a", view=lone)),
            store.insert("fresh", document("b", view=view)),
            store.insert("fresh", Document("c", "s", {"n": float("nan")})),
            store.insert("fresh", document("a", view=view)),
            return_exceptions=True,
        )
        assert [type(answer).__name__ for answer in answers] == [
            "UnicodeEncodeError",
            "Document",
            "ValueError",
            "Document",
        ]
        assert [found.document.key for found in await store.find("fresh")] == ["a", "b"]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM vals WHERE doc NOT IN (SELECT id FROM docs)").fetchone() == (0,)
    connection.close()


async def test_changes_are_kept_for_their_time_and_the_newest_for_ever(path: Path) -> None:
    clock = datetime(2026, 11, 21, tzinfo=UTC)
    async with opened(path, history=timedelta(hours=1), now=lambda: clock) as store:
        start = (await store.changes("things", after=None)).token
        await store.insert("things", document("a"))
        clock += timedelta(minutes=59)
        await store.insert("things", document("b"))
        assert await keys_after(store, start) == ["a", "b"]
        second = (await store.changes("things", after=None)).token
        clock += timedelta(minutes=30)
        await store.insert("things", document("c"))
        with pytest.raises(HistoryTrimmed):
            await store.changes("things", after=start)
        clock += timedelta(days=30)
        assert await keys_after(store, second) == ["c"]
        await store.insert("things", document("d"))
        newest = (await store.changes("things", after=None)).token
    async with opened(path, history=timedelta(hours=1), now=lambda: clock) as store:
        assert await keys_after(store, newest) == []
        await store.insert("things", document("e"))
        assert await keys_after(store, newest) == ["e"]


async def test_a_clock_that_was_set_back_tears_no_hole_into_the_history(path: Path) -> None:
    clock = start = datetime(2026, 11, 21, tzinfo=UTC)
    async with opened(path, history=timedelta(hours=1), now=lambda: clock) as store:
        token = (await store.changes("things", after=None)).token
        await store.insert("things", document("a"))
        clock = start - timedelta(days=1)
        await store.insert("things", document("b"))
        clock = start + timedelta(minutes=1)
        await store.insert("things", document("c"))
        assert await keys_after(store, token) == ["a", "b", "c"]


async def test_who_waits_is_woken_by_a_change_of_another_process(path: Path) -> None:
    # Another store on the same file has connections of its own, just as another process has.
    async with opened(path) as store, opened(path) as other:
        token = (await store.changes("things", after=None)).token
        waiting = asyncio.create_task(store.changes("things", after=token, wait_seconds=60))
        await asyncio.sleep(0)
        await other.insert("things", document("theirs"))
        async with asyncio.timeout(10):
            assert [change.key for change in (await waiting).changes] == ["theirs"]


async def test_closing_does_what_was_asked_for_and_then_refuses(path: Path) -> None:
    store = await Sqlite.open(path, compile_pattern=compile_pattern)
    token = (await store.changes("things", after=None)).token
    waiting = asyncio.create_task(store.changes("things", after=token, scopes=["none"], wait_seconds=60))
    asked = [asyncio.create_task(store.insert("things", document(f"{number}"))) for number in range(300)]
    await asyncio.sleep(0)
    await store.close()
    assert [each.revision for each in await asyncio.gather(*asked)] == [1] * 300
    late = store.changes("things", after=token, wait_seconds=60)
    for refused in (waiting, store.insert("things", document("late")), store.find("things"), late):
        with pytest.raises(Unavailable, match="closed"):
            await refused
    async with opened(path) as again:
        assert await again.count("things") == 300


async def test_a_read_that_nobody_waits_for_is_broken_off() -> None:
    readers = Readers(lambda: sqlite3.connect(":memory:", check_same_thread=False), name="x.db", threads=1)
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(connection: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(started.set)
        connection.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT sum(x) FROM n")

    reading = asyncio.create_task(readers.run(endless))
    await started.wait()
    reading.cancel()
    async with asyncio.timeout(30):  # its thread is the only one
        assert await readers.run(lambda connection: connection.execute("SELECT 1").fetchone()[0]) == 1
    await readers.close()
