"""Several processes on one SQLite file, and processes that are killed while they write."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from measurand.core.ports import Document
from measurand.core.view import Entry, Scalar
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.sqlite import Sqlite

WRITER = """
import asyncio, sys
from pathlib import Path
from measurand.core.ports import Document
from measurand.core.view import Entry, Scalar
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.sqlite import Sqlite

path, name, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def made(index):
    view = [Entry("by", Scalar("s", name)), Entry("index", Scalar("n", index))]
    view += [Entry(f"fresh {name} {index}", Scalar("b", True))]
    return Document(f"{name}/{index:06}", name, {"index": index}, "x" * (index % 7 * 1000), view)

async def main():
    store = await Sqlite.open(path, compile_pattern=compile_pattern)
    indices = iter(range(number))
    async def insert():
        for index in indices:
            await store.insert("things", made(index))
            sys.stdout.write(f"{index}\\n")
            sys.stdout.flush()
    async def count_up():
        left = 20
        while left:
            current = await store.fetch("counters", "n")
            new = Document("n", "s", {"n": current.body["n"] + 1})
            left -= await store.replace("counters", new, expected_revision=current.revision) is not None
    jobs = [insert() for _ in range(8)]
    if await store.fetch("counters", "n") is not None:
        jobs += [count_up(), count_up()]
    await asyncio.gather(*jobs)
    await store.close()

asyncio.run(main())
"""


async def writer(path: Path, name: str, number: int) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), name, str(number), stdout=PIPE, stderr=PIPE
    )


def faults(path: Path) -> list[str]:
    """Return what is wrong with the database, seen from behind the port."""
    connection = sqlite3.connect(path)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        for question in (
            "SELECT 'value of nothing ' || doc FROM vals WHERE doc NOT IN (SELECT id FROM docs)",
            "SELECT 'no body ' || key FROM docs WHERE id NOT IN (SELECT id FROM bodies)",
            "SELECT 'no document ' || id FROM bodies WHERE id NOT IN (SELECT id FROM docs)",
            "SELECT 'no such path ' || path FROM vals WHERE path NOT IN (SELECT id FROM paths)",
            "SELECT 'not found by ' || key FROM docs AS d JOIN collections AS c ON c.id = d.collection"
            " WHERE c.name = 'things' AND (SELECT count(*) FROM vals WHERE doc = d.id) <> 3",
            "SELECT 'wrong tally of ' || part || '/' || path FROM tallies AS t WHERE documents <> CASE path WHEN 0"
            " THEN (SELECT count(*) FROM docs AS d JOIN scopes AS s ON s.id = d.scope WHERE s.part = t.part)"
            " ELSE (SELECT count(*) FROM vals AS v WHERE v.part = t.part AND v.path = t.path AND v.kind < 5) END",
            "SELECT 'no tally of ' || part || '/' || path FROM vals WHERE kind < 5"
            " AND NOT EXISTS (SELECT 1 FROM tallies AS t WHERE t.part = vals.part AND t.path = vals.path)",
        ):
            found += [row[0] for row in connection.execute(question)]
        return found
    finally:
        connection.close()


async def test_processes_write_at_once_and_all_see_all(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    store = await Sqlite.open(path, compile_pattern=compile_pattern)
    await store.insert("counters", Document("n", "s", {"n": 0}))
    token = (await store.changes("things", after=None)).token
    processes = [await writer(path, name, 150) for name in "abc"]

    async def watch(token: str) -> list[str]:
        seen: list[str] = []
        while len(seen) < 450:
            answer = await store.changes("things", after=token, limit=50, wait_seconds=60)
            seen += [change.key for change in answer.changes]
            token = answer.token
        return seen

    watching = asyncio.create_task(watch(token))
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    expected = sorted(f"{name}/{index:06}" for name in "abc" for index in range(150))
    assert sorted(await watching) == expected
    assert [found.document.key for found in await store.find("things", limit=1000)] == expected
    counted = await store.fetch("counters", "n")
    assert counted is not None
    assert counted.body == {"n": 120}
    await store.close()
    assert faults(path) == []


async def test_processes_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    processes = [await writer(path, name, 3) for name in "abcd"]
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    store = await Sqlite.open(path, compile_pattern=compile_pattern)
    assert await store.count("things") == 12
    await store.close()


async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(11)
    path = tmp_path / "documents.db"
    acknowledged: set[str] = set()
    for name in "abc":
        process = await writer(path, name, 1_000_000)
        assert process.stdout is not None
        for _ in range(chance.randrange(50, 400)):
            acknowledged.add(f"{name}/{int(await process.stdout.readline()):06}")
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = await process.communicate()
        acknowledged |= {f"{name}/{int(line):06}" for line in rest.decode().splitlines(keepends=True) if "\n" in line}
        store = await Sqlite.open(path, compile_pattern=compile_pattern)
        there = await store.fetch_many("things", sorted(acknowledged))
        assert set(there) == acknowledged
        await store.insert(
            "things", Document(f"{name} after", "s", {}, view=[Entry(str(n), Scalar("n", n)) for n in range(3)])
        )
        await store.close()
        assert faults(path) == []


OPEN_AT_ONCE = """
import os, sys
from pathlib import Path
from measurand.storage.documents.sqlite.schema import prepare

for number in range(25):
    path, (begin, go), (found, tell) = Path(sys.argv[1]) / f"{number}.db", os.pipe(), os.pipe()
    children = []
    for _ in range(6):
        child = os.fork()
        if not child:
            os.close(go)
            os.read(begin, 1)  # until the parent lets go of the other end
            try:
                os.write(tell, prepare(path).encode() + b"\\n")
            except BaseException as error:
                os.write(tell, repr(error).encode() + b"\\n")
            os._exit(0)
        children.append(child)
    os.close(go)
    for child in children:
        os.waitpid(child, 0)
    os.close(tell)
    answers = set(os.read(found, 65536).decode().split("\\n")) - {""}
    assert len(answers) == 1 and len(answers.pop()) == 8, answers
"""


def test_processes_that_open_a_new_database_at_once_agree_on_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", OPEN_AT_ONCE, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
