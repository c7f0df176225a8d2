"""The container service over a real channel: folders that are taken and not taken, statuses, what lies where."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from tests.servers import free_config, in_process, memory_config
from tests.stores import Site

from measurand.v1 import common_pb2, containers_pb2_grpc
from measurand.v1 import containers_pb2 as pb

from .file_calls import FILES, put, read
from .refusals import refused

if TYPE_CHECKING:
    from measurand.v1.files_pb2_grpc import FileServiceAsyncStub

    Stub = containers_pb2_grpc.ContainerServiceAsyncStub

MISSING = grpc.StatusCode.NOT_FOUND
TAKEN = grpc.StatusCode.ALREADY_EXISTS
AWAY = grpc.StatusCode.UNAVAILABLE
WRONG = grpc.StatusCode.FAILED_PRECONDITION
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def containers(channel: grpc.aio.Channel) -> Stub:
    return containers_pb2_grpc.ContainerServiceStub(channel)


async def add(stub: Stub, name: str, folder: Path | str, *, rejoin: bool = False, **said: Any) -> pb.Container:
    uri = folder.as_uri() if isinstance(folder, Path) else folder
    container = pb.Container(name=f"containers/{name}", uri=uri, **said)
    answer = await stub.RegisterContainer(pb.RegisterContainerRequest(container=container, rejoin=rejoin))
    assert answer.lease_id == ""
    return answer.container


async def add_sites(stub: Stub, folder: Path, count: int) -> None:
    for number in range(count):
        await add(stub, f"site-{number}", folder / f"site-{number}", zone=f"zone-{number}")


async def names(stub: Stub, filter_text: str = "") -> list[str]:
    page = await stub.ListContainers(pb.ListContainersRequest(filter=filter_text))
    return [one.name for one in page.containers]


# -------------------------------------------------------------------------------------------------------- folders


async def test_a_folder_is_added_looked_at_changed_and_taken_out(containers: Stub, tmp_path: Path) -> None:
    made = await add(containers, "nas", tmp_path / "nas", zone="north", labels={"disk": "ssd"})
    assert (made.name, made.kind, made.state) == (
        "containers/nas",
        pb.CONTAINER_KIND_DIRECTORY,
        pb.CONTAINER_STATE_ACTIVE,
    )
    assert (made.uri, made.weight, made.stats.part_count) == ((tmp_path / "nas").as_uri(), 1.0, 0)
    assert made.HasField("create_time") and made.HasField("heartbeat_time")
    assert await containers.GetContainer(pb.GetContainerRequest(name="containers/nas")) == made
    assert await names(containers) == ["containers/home", "containers/nas"]
    assert await names(containers, 'labels.disk = "ssd"') == ["containers/nas"]
    wanted = pb.Container(name="containers/nas", title="a NAS", zone="south", etag=made.etag)
    request = pb.UpdateContainerRequest(container=wanted, update_mask=FieldMask(paths=["title"]))
    after = await containers.UpdateContainer(request)
    assert (after.title, after.zone, after.etag != made.etag) == ("a NAS", "north", True)
    code, info, _ = await refused(containers.UpdateContainer(request))
    assert (code, info.reason, info.metadata["etag"]) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", after.etag)
    unmasked = pb.UpdateContainerRequest(container=pb.Container(name="containers/nas", read_only=True))
    assert (await containers.UpdateContainer(unmasked)).state == pb.CONTAINER_STATE_READ_ONLY
    await containers.RemoveContainer(pb.RemoveContainerRequest(name="containers/nas"))
    assert await names(containers) == ["containers/home"]
    assert (tmp_path / "nas" / "container").exists()  # what is in it is not deleted


async def test_a_folder_of_another_container_is_refused_and_one_that_was_removed_is_taken(
    containers: Stub, tmp_path: Path
) -> None:
    await add(containers, "a", tmp_path / "a")
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "a", moved)
    code, info, _ = await refused(add(containers, "b", moved))
    assert (code, info.reason) == (WRONG, "STATE_WRONG")
    code, info, _ = await refused(add(containers, "b", tmp_path / "a"))
    assert (code, info.reason, info.metadata["resource"]) == (TAKEN, "RESOURCE_EXISTS", "containers/a")
    await add(containers, "a", moved, rejoin=True)
    await containers.RemoveContainer(pb.RemoveContainerRequest(name="containers/a"))
    await add(containers, "b", moved)


async def test_a_folder_of_another_deployment_is_refused_with_both_named(
    containers: Stub, site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "nas"
    async with (
        in_process(memory_config(data=tmp_path / "other")) as other,
        grpc.aio.insecure_channel(str(other.address)) as channel,
    ):
        await add(containers_pb2_grpc.ContainerServiceStub(channel), "nas", folder)
    mark = (folder / "container").read_text()
    code, info, _ = await refused(add(containers, "nas", folder))
    assert (code, info.reason) == (WRONG, "STATE_WRONG")
    assert (folder / "container").read_text() == mark
    assert await names(containers) == ["containers/home"]


async def test_a_folder_that_holds_other_things_or_whose_parent_is_missing_is_refused(
    containers: Stub, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("x")
    code, info, _ = await refused(add(containers, "nas", tmp_path / "photos"))
    assert (code, info.reason) == (WRONG, "STATE_WRONG")
    code, info, _ = await refused(add(containers, "nas", tmp_path / "not" / "mounted"))
    assert (code, info.reason) == (AWAY, "STORE_UNAVAILABLE")
    (tmp_path / "file").write_text("x")
    code, info, _ = await refused(add(containers, "nas", tmp_path / "file"))
    assert (code, info.reason) == (AWAY, "STORE_UNAVAILABLE")
    assert await names(containers) == ["containers/home"]
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["cat.jpg"]


async def test_a_disk_that_is_not_mounted_any_more_is_no_empty_container(containers: Stub, tmp_path: Path) -> None:
    folder = tmp_path / "nas"
    await add(containers, "nas", folder)
    folder.rename(tmp_path / "unplugged")
    folder.mkdir()  # the mount point
    code, info, _ = await refused(add(containers, "other", folder))
    assert (code, info.reason) == (TAKEN, "RESOURCE_EXISTS")
    request = pb.CheckContainerRequest(name="containers/nas")
    assert not (await containers.CheckContainer(request)).healthy
    assert list(folder.iterdir()) == []


async def test_a_container_is_tried_verb_by_verb_and_left_as_it_was(containers: Stub, tmp_path: Path) -> None:
    await add(containers, "nas", tmp_path / "nas")
    report = await containers.CheckContainer(pb.CheckContainerRequest(name="containers/nas"))
    assert report.healthy
    assert [result.check for result in report.results] == ["put", "get", "get_range", "list", "staged_write", "delete"]
    assert all(result.ok and not result.message and result.elapsed.ToMicroseconds() > 0 for result in report.results)
    assert parts_in(tmp_path / "nas") == []


async def test_memory_is_a_container_only_where_the_documents_are_in_memory(containers: Stub, tmp_path: Path) -> None:
    assert (await add(containers, "ram", "memory:")).kind == pb.CONTAINER_KIND_MEMORY
    async with (
        in_process(free_config(data=tmp_path / "kept")) as other,
        grpc.aio.insecure_channel(str(other.address)) as channel,
    ):
        code, info, field = await refused(add(containers_pb2_grpc.ContainerServiceStub(channel), "ram", "memory:"))
    assert (code, info.reason, field) == (INVALID, "FIELD_INVALID", "container.uri")


@pytest.mark.stores("fleet")
async def test_buckets_are_containers_beside_folders_and_belong_to_one_deployment(
    containers: Stub, stub: FileServiceAsyncStub, site: Site, tmp_path: Path
) -> None:
    home = site.options[site.options.index("--blobs") + 1]
    prefix, question, query = home.partition("?")
    made = await add(containers, "bucket", f"{prefix}-more{question}{query}", zone="cloud")
    assert (made.kind, made.state) == (pb.CONTAINER_KIND_S3, pb.CONTAINER_STATE_ACTIVE)
    assert (made.stats.capacity_bytes, made.stats.free_bytes) == (0, 0)  # nobody knows
    await add(containers, "nas", tmp_path / "nas", zone="hall")
    report = await containers.CheckContainer(pb.CheckContainerRequest(name="containers/bucket"))
    assert report.healthy and len(report.results) == 6
    data = bytes(range(256)) * 3000
    policy = common_pb2.StoragePolicy(
        erasure_code=common_pb2.ErasureCode(data_parts=2, parity_parts=1),
        containers=["containers/home", "containers/bucket", "containers/nas"],
    )
    await put(stub, "mixed", data, storage_policy=policy)
    shutil.rmtree(tmp_path / "nas")
    assert await read(stub, "mixed") == data
    async with (
        in_process(memory_config(data=tmp_path / "other")) as other,
        grpc.aio.insecure_channel(str(other.address)) as channel,
    ):
        theirs = containers_pb2_grpc.ContainerServiceStub(channel)
        code, info, _ = await refused(add(theirs, "bucket", f"{prefix}-more{question}{query}"))
    assert (code, info.reason) == (WRONG, "STATE_WRONG")


# -------------------------------------------------------------------------------------------------------- refusals


async def test_refusals_carry_their_reason_and_facts(containers: Stub, tmp_path: Path) -> None:
    await add(containers, "nas", tmp_path / "nas")
    missing = "containers/nobody"
    many: list[tuple[Any, grpc.StatusCode, str, str]] = [
        (add(containers, "nas", tmp_path / "b"), TAKEN, "RESOURCE_EXISTS", ""),
        (add(containers, "home", tmp_path / "b"), TAKEN, "RESOURCE_EXISTS", ""),
        (add(containers, "Nas", tmp_path / "b"), INVALID, "NAME_INVALID", "container.name"),
        (add(containers, "b", "ftp://host/x"), INVALID, "FIELD_INVALID", "container.uri"),
        (add(containers, "b", "s3://me:pw@bucket"), INVALID, "FIELD_INVALID", "container.uri"),
        (add(containers, "b", tmp_path / "b", weight=-1), INVALID, "FIELD_INVALID", "container.weight"),
        (
            containers.HeartbeatContainer(pb.HeartbeatContainerRequest(name="containers/nas", lease_id="guessed")),
            MISSING,
            "LEASE_LOST",
            "",
        ),
        (containers.GetContainer(pb.GetContainerRequest(name=missing)), MISSING, "RESOURCE_NOT_FOUND", ""),
        (containers.CheckContainer(pb.CheckContainerRequest(name=missing)), MISSING, "RESOURCE_NOT_FOUND", ""),
        (containers.DrainContainer(pb.DrainContainerRequest(name=missing)), MISSING, "RESOURCE_NOT_FOUND", ""),
        (containers.UndrainContainer(pb.UndrainContainerRequest(name=missing)), MISSING, "RESOURCE_NOT_FOUND", ""),
        (
            containers.RemoveContainer(pb.RemoveContainerRequest(name=missing, force=True)),
            MISSING,
            "RESOURCE_NOT_FOUND",
            "",
        ),
        (containers.RemoveContainer(pb.RemoveContainerRequest(name="containers/home")), WRONG, "STATE_WRONG", ""),
        (containers.ListContainers(pb.ListContainersRequest(filter="zone ==")), INVALID, "FILTER_INVALID", ""),
        (
            containers.UpdateContainer(
                pb.UpdateContainerRequest(
                    container=pb.Container(name="containers/nas"), update_mask=FieldMask(paths=["uri"])
                )
            ),
            INVALID,
            "FIELD_INVALID",
            "update_mask",
        ),
        (containers.ExplainPlacement(pb.ExplainPlacementRequest()), INVALID, "FIELD_INVALID", "subject"),
        (
            containers.ExplainPlacement(pb.ExplainPlacementRequest(catalog="lab", size=-1)),
            INVALID,
            "FIELD_INVALID",
            "size",
        ),
        (
            containers.ExplainPlacement(pb.ExplainPlacementRequest(resource="catalogs/lab/datasets/run/files/none")),
            MISSING,
            "RESOURCE_NOT_FOUND",
            "",
        ),
        (containers.RecodeBlobs(pb.RecodeBlobsRequest(parent="lab/run")), INVALID, "NAME_INVALID", "parent"),
        (
            containers.RepairContainers(pb.RepairContainersRequest(containers=["a/b"])),
            INVALID,
            "NAME_INVALID",
            "containers",
        ),
    ]
    for call, code, reason, field in many:
        found, info, fault = await refused(call)
        assert (found, info.reason) == (code, reason), info
        assert fault == field or (reason == "FILTER_INVALID" and fault), info
    assert await names(containers) == ["containers/home", "containers/nas"]


# ------------------------------------------------------------------------------------------------ what lies where


async def test_a_file_lies_in_as_many_containers_as_its_policy_says_and_survives_their_loss(
    containers: Stub, stub: FileServiceAsyncStub, tmp_path: Path
) -> None:
    await add_sites(containers, tmp_path, 6)
    data = bytes(range(256)) * 4000
    policy = common_pb2.StoragePolicy(
        erasure_code=common_pb2.ErasureCode(data_parts=3, parity_parts=2), exclude=["containers/home"]
    )
    await put(stub, "coded", data, storage_policy=policy)
    explained = await containers.ExplainPlacement(pb.ExplainPlacementRequest(resource=f"{FILES}/coded"))
    assert (explained.data_parts, explained.parity_parts) == (3, 2)
    assert explained.policy == policy
    assert [part.part_index for part in explained.parts] == [0, 1, 2, 3, 4]
    holders = [part.container.removeprefix("containers/") for part in explained.parts]
    assert len(set(holders)) == 5 and all(part.healthy for part in explained.parts)
    for holder, part in zip(holders, explained.parts, strict=True):
        assert [file.stat().st_size for file in parts_in(tmp_path / holder)] == [part.size]
        assert part.size == -(-len(data) // 3) + 64
    for holder in holders[:2]:
        shutil.rmtree(tmp_path / holder)
    assert await read(stub, "coded") == data
    shutil.rmtree(tmp_path / holders[2])
    code, info, _ = await refused(read(stub, "coded"))
    assert (code, info.reason) == (AWAY, "CONTAINERS_UNAVAILABLE")
    assert (info.metadata["needed"], info.metadata["available"]) == ("3", "2")


async def test_where_something_new_would_go_is_explained_for_every_container(
    containers: Stub, stub: FileServiceAsyncStub, tmp_path: Path
) -> None:
    await add_sites(containers, tmp_path, 4)
    read_only = pb.Container(name="containers/site-3", read_only=True)
    await containers.UpdateContainer(pb.UpdateContainerRequest(container=read_only))
    policy = common_pb2.StoragePolicy(replicas=2, exclude=["containers/home"])
    request = pb.ExplainPlacementRequest(policy=policy, size=10_000, seed=7)
    found = await containers.ExplainPlacement(request)
    assert found == await containers.ExplainPlacement(request)
    assert not found.HasField("problem")
    assert {one.container for one in found.candidates} == {
        "containers/home",
        *(f"containers/site-{n}" for n in range(4)),
    }
    assert all(one.reasons for one in found.candidates)
    scores = [one.score for one in found.candidates]
    assert scores == sorted(scores, reverse=True)
    by_name = {one.container: one for one in found.candidates}
    assert (by_name["containers/site-3"].score, by_name["containers/home"].score) == (0, 0)
    assert "read_only" in " ".join(by_name["containers/site-3"].reasons)
    assert {part.container for part in found.parts} == {one.container for one in found.candidates if one.chosen}
    policy.min_zones = 9
    policy.replicas = 9
    none = await containers.ExplainPlacement(pb.ExplainPlacementRequest(policy=policy))
    assert none.problem.reason == "CONTAINERS_UNAVAILABLE" and not none.parts
    at_home = await containers.ExplainPlacement(pb.ExplainPlacementRequest(catalog="catalogs/lab"))
    assert [part.container for part in at_home.parts] == ["containers/home"]


async def test_one_that_holds_parts_is_taken_out_only_by_force(
    containers: Stub, stub: FileServiceAsyncStub, tmp_path: Path
) -> None:
    await add_sites(containers, tmp_path, 2)
    policy = common_pb2.StoragePolicy(replicas=2, containers=["containers/site-0", "containers/site-1"])
    data = b"x" * 100_000
    await put(stub, "twice", data, storage_policy=policy)
    code, info, _ = await refused(containers.RemoveContainer(pb.RemoveContainerRequest(name="containers/site-0")))
    assert (code, info.reason, info.metadata["resource"]) == (WRONG, "RESOURCE_IN_USE", "containers/site-0")
    await containers.RemoveContainer(pb.RemoveContainerRequest(name="containers/site-0", force=True))
    assert len(parts_in(tmp_path / "site-0")) == 1
    assert await read(stub, "twice") == data


# ------------------------------------------------------------------------------------------------------ operations


async def test_what_takes_long_is_an_operation(containers: Stub, run: str, tmp_path: Path) -> None:
    await add_sites(containers, tmp_path, 2)
    only = pb.DrainContainerRequest(name="containers/site-0", validate_only=True)
    assert (await containers.DrainContainer(only)).kind == "drain"
    shown = await containers.GetContainer(pb.GetContainerRequest(name="containers/site-0"))
    assert shown.state == pb.CONTAINER_STATE_ACTIVE
    drain = pb.DrainContainerRequest(name="containers/site-0", request_id="r1")
    begun = await containers.DrainContainer(drain)
    assert (begun.kind, list(begun.targets)) == ("drain", ["containers/site-0"])
    assert (await containers.DrainContainer(drain)).name == begun.name
    shown = await containers.GetContainer(pb.GetContainerRequest(name="containers/site-0"))
    assert shown.state in (pb.CONTAINER_STATE_DRAINING, pb.CONTAINER_STATE_DRAINED)
    back = await containers.UndrainContainer(pb.UndrainContainerRequest(name="containers/site-0"))
    assert back.state == pb.CONTAINER_STATE_ACTIVE
    repair = await containers.RepairContainers(pb.RepairContainersRequest(containers=["containers/site-1"]))
    rebalance = await containers.RebalanceContainers(pb.RebalanceContainersRequest())
    recode = await containers.RecodeBlobs(pb.RecodeBlobsRequest(parent=run))
    assert [(one.kind, list(one.targets)) for one in (repair, rebalance, recode)] == [
        ("repair", ["containers/site-1"]),
        ("rebalance", []),
        ("recode", [run]),
    ]


# ---------------------------------------------------------------------------------------------------------- helpers


def parts_in(folder: Path) -> list[Path]:
    """Return the files under which parts lie in a folder."""
    return sorted(path for path in (folder / "blobs").rglob("*") if path.is_file())
