"""Containers from Python: added, looked at, explained, emptied, mended."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers import Server, running

from measurand.client import AsyncClient, AsyncDataset, DataFile, Storage
from measurand.client.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidArgument, NotFound

SIX = tuple(f"local-{number}" for number in range(1, 7))
CODED = Storage("erasure:3+2", containers=SIX[:5])


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("sites"), "--containers", "6") as server:
        yield server


@pytest.fixture
async def client(sites: Server) -> AsyncGenerator[AsyncClient, None]:
    async with AsyncClient(sites.address) as client:
        yield client


@pytest.fixture
async def run(client: AsyncClient) -> AsyncDataset:
    return await (await client.create_catalog(f"lab-{uuid.uuid4()}")).create("a run")


async def test_one_is_added_found_changed_and_taken_out(client: AsyncClient, tmp_path: Path) -> None:
    name = f"nas-{uuid.uuid4().hex[:8]}"
    made = await client.containers.add(
        name, (tmp_path / "nas").as_uri(), zone="north", labels={"disk": name}, title="a NAS", max_bytes=10**9
    )
    assert (made.id, made.kind, made.state, made.zone, made.labels) == (
        name,
        "directory",
        "active",
        "north",
        {"disk": name},
    )
    assert (made.parts, made.stored, made.capacity > made.free > 0) == (0, 0, True)
    assert made.created is not None and made.heard is not None
    assert await client.containers.get(f"containers/{name}") == await client.containers.get(name)
    assert [one.id for one in await client.containers.list(f'labels.disk = "{name}"')] == [name]
    assert {*SIX, name} <= {one.id for one in await client.containers.list()}
    changed = await client.containers.update(name, read_only=True, weight=2.0)
    assert (changed.state, changed.weight, changed.title) == ("read_only", 2.0, "a NAS")
    checks = await client.containers.probe(name)
    assert [check.what for check in checks if check.ok] == ["put", "get", "get_range", "list", "staged_write", "delete"]
    with pytest.raises(Conflict):
        await client.containers.update(name, title="too late", if_match=made.etag)
    with pytest.raises(AlreadyExists):
        await client.containers.add(name, (tmp_path / "other").as_uri())
    await client.containers.remove(name)
    with pytest.raises(NotFound):
        await client.containers.get(name)
    with pytest.raises(NotFound):
        await client.containers.remove(name)


async def test_what_is_said_wrongly_is_refused_before_anything_is_made(client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("x")
    with pytest.raises(FailedPrecondition, match="other files"):
        await client.containers.add("refused", tmp_path.as_uri())
    with pytest.raises(InvalidArgument, match="secrets"):
        await client.containers.add("refused", "s3://me:pw@bucket")
    assert "refused" not in [one.id for one in await client.containers.list()]


async def test_without_a_home_store_everything_lies_in_containers(client: AsyncClient, run: AsyncDataset) -> None:
    file = await run.write_bytes("usual", b"x" * 1_000_000)
    where = await client.containers.explain(f"{run.name}/files/{file.path}")
    assert str(where.storage) == "losses:2" and where.problem is None
    assert where.data_parts + where.parity_parts == len(where.parts) == len({part.container for part in where.parts})
    assert all(part.healthy and part.container in SIX for part in where.parts)


async def test_where_parts_are_is_told_and_so_is_where_others_would_go(client: AsyncClient, run: AsyncDataset) -> None:
    await run.write_bytes("coded", b"x" * 900_000, storage=CODED)
    where = await client.containers.explain(f"{run.name}/files/coded")
    assert (where.storage, where.data_parts, where.parity_parts) == (CODED, 3, 2)
    assert [part.container for part in where.parts] == list(SIX[:5])
    assert [part.size for part in where.parts] == [300_064] * 5
    asked: dict[str, Any] = {"storage": Storage("replicate:2", exclude=["local-6"]), "size": 5_000_000, "seed": 7}
    first = await client.containers.explain(**asked)
    assert first == await client.containers.explain(**asked)
    assert {one.container for one in first.considered} >= set(SIX)
    assert {one.container for one in first.considered if one.chosen} == {part.container for part in first.parts}
    [left_out] = [one for one in first.considered if one.container == "local-6"]
    assert left_out.score == 0 and left_out.reasons
    nowhere = await client.containers.explain(storage="replicate:7")
    assert nowhere.problem is not None and nowhere.problem.reason == "CONTAINERS_UNAVAILABLE" and not nowhere.parts
    catalog = await client.containers.explain(await client.catalog(run.catalog))
    assert len(catalog.parts) >= 3


async def test_whole_measurements_and_folders_are_kept_as_is_said(
    client: AsyncClient, run: AsyncDataset, tmp_path: Path
) -> None:
    saved = await (await client.catalog(run.catalog)).save(
        DataFile("kept", files={"raw": b"x" * 2000}, storage="replicate:4")
    )
    assert str(saved.storage) == "replicate:4"
    assert len((await client.containers.explain(f"{saved.name}/files/raw")).parts) == 4
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "small").write_bytes(b"s")
    (tmp_path / "out" / "large").write_bytes(b"l" * 2_000_000)
    await run.upload_dir(tmp_path / "out", storage="replicate:5")
    for path in ("small", "large"):
        assert len((await client.containers.explain(f"{run.name}/files/{path}")).parts) == 5


async def test_a_lost_container_is_noticed_and_made_good(client: AsyncClient, run: AsyncDataset, sites: Server) -> None:
    data = bytes(range(256)) * 3000
    await run.write_bytes("coded", data, storage=CODED)
    for path in (sites.folder / "containers" / "local-2" / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    assert await run.read_bytes("coded") == data
    found = await client.containers.check()
    assert found["checked_blobs"] == found["safe_blobs"] + found["degraded_blobs"] >= 1
    assert found["missing_parts"] >= 1 and found["lost_blobs"] == found["at_risk_blobs"] == 0
    repaired = await (await client.containers.repair("local-2")).result()
    assert repaired["repaired_parts"] == found["missing_parts"]
    again = await client.containers.check()
    assert again["safe_blobs"] == again["checked_blobs"] and again["missing_parts"] == 0


async def test_one_is_emptied_and_taken_up_again(client: AsyncClient, run: AsyncDataset, sites: Server) -> None:
    for number in range(4):
        await run.write_bytes(f"{number}", b"x" * 300_000, storage="replicate:5")
    only = await (await client.containers.drain("local-6", dry_run=True)).result()
    assert only["moved_blobs"] >= 1 and (await client.containers.get("local-6")).state == "active"
    done = await (await client.containers.drain("local-6")).result()
    assert (done["stuck_blobs"], done["problems"]) == (0, [])
    assert not [path for path in (sites.folder / "containers" / "local-6" / "blobs").rglob("*") if path.is_file()]
    for number in range(4):
        assert await run.read_bytes(f"{number}") == b"x" * 300_000
    back = await client.containers.undrain("local-6")
    assert back.state == "active"
