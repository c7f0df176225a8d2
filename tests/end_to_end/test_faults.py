"""What goes wrong on disks and wires: it is told by its name, nothing half is seen, and the server lives on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from blake3 import blake3
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from tests.end_to_end import resting
from tests.end_to_end.healthy import check_healthy, make_run, noise
from tests.servers import Server
from tests.stores import DURABLE, Site

from measurand.client import Client
from measurand.client.errors import DataLoss, NotFound
from measurand.v1 import common_pb2, datasets_pb2, datasets_pb2_grpc, files_pb2, files_pb2_grpc

KiB = 1024
MiB = 1024 * KiB
MOST_DOCUMENT = 4 * MiB
MOST_BULK = 3 * MiB
NAME = "catalogs/lab/datasets/run/files/"


pytestmark = pytest.mark.usefixtures("_own_places")


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    """A server with an empty dataset in it."""
    with site.running() as server:
        make_run(server)
        yield server


# ------------------------------------------------------------------------------------------------------ damage at rest


def blob_with(site: Site, piece: bytes) -> tuple[str, int]:
    """Return the one blob at rest that holds these bytes, and where."""
    ((key, position),) = resting.holders(site, piece)
    return key, position


def check_lost(caught: pytest.ExceptionInfo[DataLoss], path: str) -> None:
    assert NAME + path in str(caught.value)
    assert caught.value.details["resource"] == NAME + path
    assert caught.value.reason == "STORED_DATA_CORRUPT"


@pytest.mark.stores(*DURABLE)
def test_a_flipped_bit_in_a_large_file_is_noticed_and_what_stands_before_it_is_right(
    site: Site, server: Server, tmp_path: Path
) -> None:
    data, other = noise(8 * MiB), noise(3 * MiB, 1)
    with Client(server.address) as client:
        run = client.catalog("lab").get("run")
        run.upload(data, "frames.bin")
        run.upload(other, "other.bin")
        blob, start = blob_with(site, data)
        resting.flip(site, blob, start + 5 * MiB + 123)
        with pytest.raises(DataLoss) as caught:
            run.read_bytes("frames.bin")
        check_lost(caught, "frames.bin")
        with pytest.raises(DataLoss) as caught:
            run.read_bytes("frames.bin", offset=5 * MiB + 100, length=50)
        check_lost(caught, "frames.bin")
        assert run.read_bytes("frames.bin", length=4 * MiB) == data[: 4 * MiB]
        assert run.read_bytes("frames.bin", offset=7 * MiB) == data[7 * MiB :]
        with pytest.raises(DataLoss) as caught:
            run.download("frames.bin", tmp_path / "frames.bin")
        check_lost(caught, "frames.bin")
        assert not (tmp_path / "frames.bin").exists()
        assert run.read_bytes("other.bin") == other
        resting.flip(site, blob, start + 5 * MiB + 123)  # restored from a copy, as the error says
        assert run.download("frames.bin", tmp_path / "frames.bin").read_bytes() == data
    check_healthy(server)


@pytest.mark.stores(*DURABLE)
def test_a_flipped_bit_in_a_pack_of_small_files_costs_just_the_file_it_lies_in(
    site: Site, server: Server, tmp_path: Path
) -> None:
    source, target = tmp_path / "logs", tmp_path / "back"
    source.mkdir()
    contents = {f"{number}.log": noise(2000, number) for number in range(20)}
    for path, data in contents.items():
        (source / path).write_bytes(data)
    with Client(server.address) as client:
        run = client.catalog("lab").get("run")
        run.upload_dir(source)
        blob, start = blob_with(site, contents["7.log"])
        assert blob == blob_with(site, contents["8.log"])[0]  # others lie there too
        resting.flip(site, blob, start + 1999)
        with pytest.raises(DataLoss) as caught:
            run.read_bytes("7.log")
        check_lost(caught, "7.log")
        with pytest.raises(DataLoss):
            run.download("7.log", tmp_path)
        assert not (tmp_path / "7.log").exists()
        assert all(run.read_bytes(path) == data for path, data in contents.items() if path != "7.log")
        outcome = run.download_dir(target, missing="report")
        assert list(outcome.failed) == ["7.log"]
        assert NAME + "7.log" in outcome.failed["7.log"]
        found = {file.name: file.read_bytes() for file in target.iterdir() if file.suffix == ".log"}
        assert found == {path: data for path, data in contents.items() if path != "7.log"}
    check_healthy(server)


@pytest.mark.stores(*DURABLE)
@pytest.mark.parametrize("size", [1000, 3 * MiB], ids=["small", "large"])
def test_a_file_whose_blob_is_gone_is_lost_by_name_and_not_unknown(
    site: Site, server: Server, tmp_path: Path, size: int
) -> None:
    with Client(server.address) as client:
        run = client.catalog("lab").get("run")
        run.write_bytes("gone.bin", noise(size))
        run.write_bytes("other.bin", b"other")
        resting.remove(site, blob_with(site, noise(size))[0])
        with pytest.raises(DataLoss, match="are gone") as caught:
            run.read_bytes("gone.bin")
        check_lost(caught, "gone.bin")
        with pytest.raises(DataLoss):
            run.download("gone.bin", tmp_path / "gone.bin")
        assert not (tmp_path / "gone.bin").exists()
        assert run.read_bytes("other.bin") == b"other"
        assert run.write_bytes("gone.bin", b"anew").size == 4
        assert run.read_bytes("gone.bin") == b"anew"
    check_healthy(server)


# ---------------------------------------------------------------------------------------------------------- oversize


def reason_of(error: Any) -> ErrorInfo:
    """Return what our server says in the details of a status. The stubs of grpc know too little of its errors."""
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = ErrorInfo()
    (found,) = [detail for detail in Status.FromString(packed).details if detail.Is(ErrorInfo.DESCRIPTOR)]
    found.Unpack(info)
    return info


def test_a_document_above_the_limit_is_refused_with_both_sizes(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = datasets_pb2_grpc.DatasetServiceStub(channel)
        text = '{"a":"%s"}' % ("x" * (MOST_DOCUMENT + 1 - len('{"a":""}')))
        dataset = datasets_pb2.Dataset(metadata=common_pb2.Document(json=text))
        request = datasets_pb2.CreateDatasetRequest(parent="catalogs/lab", dataset=dataset, dataset_id="big")
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateDataset(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        info = reason_of(caught.value)
        assert info.reason == "TOO_LARGE"
        assert (info.metadata["limit"], info.metadata["actual"]) == (str(MOST_DOCUMENT), str(MOST_DOCUMENT + 1))
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetDataset(datasets_pb2.GetDatasetRequest(name="catalogs/lab/datasets/big"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    check_healthy(server)


@pytest.mark.parametrize("size", [MOST_BULK, 16 * MiB])
def test_a_bulk_message_above_the_limit_is_refused_and_the_connection_lives_on(server: Server, size: int) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = files_pb2_grpc.FileServiceStub(channel)
        upload, streamed = (
            stub.CreateUpload(files_pb2.CreateUploadRequest(file=files_pb2.FileSpec(name=f"{NAME}{path}")))
            for path in ("b", "c")
        )
        data = bytes(size)
        refused = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
        with pytest.raises(grpc.RpcError) as caught:
            stub.PutFile(files_pb2.PutFileRequest(file=files_pb2.FileSpec(name=f"{NAME}a"), data=data))
        assert caught.value.code() in refused
        with pytest.raises(grpc.RpcError) as caught:
            stub.WriteUploadChunk(files_pb2.WriteUploadChunkRequest(name=upload.name, data=data))
        assert caught.value.code() in refused
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.WriteUpload(iter([files_pb2.WriteUploadRequest(name=streamed.name, data=data)])))
        assert caught.value.code() in refused
        for begun in (upload, streamed):
            assert stub.GetUpload(files_pb2.GetUploadRequest(name=begun.name)).persisted_size == 0
        assert list(stub.ListFiles(files_pb2.ListFilesRequest(parent="catalogs/lab/datasets/run")).files) == []
        chunk = files_pb2.WriteUploadChunkRequest(name=upload.name, data=b"fits")
        assert stub.WriteUploadChunk(chunk).persisted_size == 4
    check_healthy(server)


# ------------------------------------------------------------------------------------------------------- two at a time


@pytest.mark.parametrize(("size", "rounds"), [(3000, 40), (1_300_000, 12)], ids=["small", "large"])
def test_of_two_that_write_one_path_at_once_one_is_the_newest_and_all_are_whole(
    server: Server, size: int, rounds: int
) -> None:
    contents = [[noise(size + who, 1000 * who + turn) for turn in range(rounds)] for who in range(2)]
    digests = {blake3(data).hexdigest() for written in contents for data in written}
    start = threading.Barrier(2)
    ended = threading.Event()

    def write(who: int) -> None:
        with Client(server.address) as client:
            run = client.catalog("lab").get("run")
            start.wait(30)
            for turn in range(rounds):
                assert run.write_bytes("one", contents[who][turn]).size == size + who

    def look() -> int:
        seen = 0
        with Client(server.address) as client:
            run = client.catalog("lab").get("run")
            while not ended.is_set():
                try:
                    data = run.read_bytes("one")
                except NotFound:
                    assert not seen  # once it is there it stays
                    continue
                assert blake3(data).hexdigest() in digests
                seen += 1
        return seen

    with ThreadPoolExecutor(3) as threads:
        looking = threads.submit(look)
        writing = [threads.submit(write, who) for who in range(2)]
        try:
            for one in writing:
                one.result(120)
        finally:
            ended.set()
        assert looking.result(60) > 0
    with Client(server.address) as client:
        run = client.catalog("lab").get("run")
        (newest,) = run.files()
        assert newest.blake3 in {blake3(written[-1]).hexdigest() for written in contents}
        assert blake3(run.read_bytes("one")).hexdigest() == newest.blake3
        every = run.files(show_superseded=True)
        assert {file.blake3 for file in every} == digests and len(every) == 2 * rounds
        assert newest.generation == max(file.generation for file in every)
        for file in every:
            data = run.read_bytes("one", generation=file.generation)
            assert (len(data), blake3(data).hexdigest()) == (file.size, file.blake3)
    check_healthy(server)
