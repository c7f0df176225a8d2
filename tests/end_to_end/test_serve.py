"""The real command: how it starts, what it says, how it ends, and that nothing acknowledged is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import google_crc32c
import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.end_to_end.serving import channel_to, instance, make_run, serve, until
from tests.servers import Server, running, start
from tests.stores import DURABLE, Site

from measurand.v1 import (
    catalogs_pb2,
    catalogs_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
)
from measurand.wire.codec import codec_channel, pack, unpack

MiB = 1024 * 1024
NAME = "catalogs/lab/datasets/run/files/a.bin"


# ------------------------------------------------------------------------------------------------------------- start


def test_it_says_where_it_listens_where_the_data_is_and_what_to_try_next(site: Site) -> None:
    places = {
        "memory": "memory: all of it is gone when the server ends",
        "embedded": str(site.folder),
        "fleet": " and ".join(site.options[1::2]),
    }
    with site.running() as server:
        first, second, third, *commands = server.printed.splitlines()
        assert re.fullmatch(r"listening on 127\.0\.0\.1:\d+", first)
        assert second == f"data in {places[site.kind]}"
        assert third == "try next:"
        assert len(commands) == 3
        assert all(line.startswith(f"  MEASURAND_URL={server.address} measurand ") for line in commands)


async def test_it_says_that_it_serves_and_ends_with_0(site: Site) -> None:
    with site.running() as server:
        async with channel_to(server) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert server.stop() == 0


def test_help_is_quick_and_imports_no_grpc() -> None:
    script = "import sys; from measurand.server.run import command; command(['--help'], standalone_mode=False); "
    done = subprocess.run(
        [sys.executable, "-c", f"{script} print(*sys.modules)"], check=True, capture_output=True, text=True, timeout=60
    )
    assert "--listen HOST:PORT" in done.stdout
    assert not {"grpc", "pydantic", "google.protobuf"} & set(done.stdout.split())


def test_a_client_finds_the_server_of_a_folder_by_its_file(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        told = server.presence
        assert (told["address"], told["pid"], told["private"]) == (server.address, server.process.pid, False)
        assert server.stop() == 0
        assert not (tmp_path / "server.json").exists()


def test_what_a_killed_server_left_is_overwritten_by_the_next(tmp_path: Path) -> None:
    first = start(tmp_path)
    left = first.presence
    first.kill()
    assert (tmp_path / "server.json").exists()
    with running(tmp_path) as second:
        assert second.presence["pid"] == second.process.pid != left["pid"]


@pytest.mark.parametrize("flag", ["--listen", "--http"])
def test_a_port_that_is_taken_is_an_error_that_names_the_flag(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        others = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        done = serve("--data", str(tmp_path), *others, flag, address)
    assert done.returncode == 1
    assert f"{flag} {address}" in done.stderr
    assert "choose another port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--listen", "0.0.0.0:0"], "--insecure"),
        (["--listen", "here"], "--listen"),
        (["--documents", "postgres://x"], "--documents"),
        (["--workers", "0"], "--workers"),
        (["--config", "/does/not/exist.toml"], "no such file"),
        (["--workers", "2", "--documents", "memory:"], "--workers"),
    ],
)
def test_a_wrong_setting_is_a_usage_error_that_names_it(tmp_path: Path, options: list[str], named: str) -> None:
    done = serve("--data", str(tmp_path), *options)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    start(tmp_path).stop()
    path = tmp_path / "documents.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 9999")
    database.close()
    before = path.read_bytes()
    done = serve("--data", str(tmp_path), "--listen", "127.0.0.1:0", "--http", "off")
    assert done.returncode == 1
    assert "newer" in done.stderr and "Traceback" not in done.stderr
    assert path.read_bytes() == before


# ----------------------------------------------------------------------------------------------------------- serving


async def test_two_servers_serve_one_folder(tmp_path: Path) -> None:
    with running(tmp_path) as first, running(tmp_path) as second:
        assert first.presence["pid"] == first.process.pid
        async with channel_to(first) as one, channel_to(second) as other:
            await make_run(one)
            files = files_pb2_grpc.FileServiceStub(codec_channel(one))
            await files.PutFile(pack(files_pb2.PutFileRequest(file=files_pb2.FileSpec(name=NAME)), b"hello"))
            stub = files_pb2_grpc.FileServiceStub(codec_channel(other))
            answer = await stub.ReadFileChunk(files_pb2.ReadFileChunkRequest(name=NAME))
            assert bytes(unpack(answer).data) == b"hello"
        first.stop()
        until(lambda: (tmp_path / "server.json").exists() and second.presence["pid"] == second.process.pid)


async def test_metrics_tell_of_calls_and_bytes(site: Site) -> None:
    kind = {"memory": "memory", "embedded": "file", "fleet": "s3"}[site.kind]
    with site.running("--http", "127.0.0.1:0") as server:
        async with channel_to(server) as channel:
            await make_run(channel)
            files = files_pb2_grpc.FileServiceStub(codec_channel(channel))
            await files.PutFile(pack(files_pb2.PutFileRequest(file=files_pb2.FileSpec(name=NAME)), bytes(100_000)))
            async for _ in files.ReadFile(files_pb2.ReadFileRequest(name=NAME)):
                pass
        page = await asyncio.to_thread(server.page, "/metrics")
        found = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        assert float(found[f'measurand_blob_bytes_read_total{{store="{kind}"}}']) >= 100_000
        assert float(found[f'measurand_blob_bytes_written_total{{store="{kind}"}}']) >= 100_000
        assert float(found["measurand_bytes_sent_total"]) > 100_000
        assert float(found["measurand_bytes_received_total"]) > 100_000
        assert found['measurand_calls_total{code="OK",method="/measurand.v1.FileService/PutFile",reason=""}'] == "1.0"


@pytest.mark.stores("embedded")  # no store has a part in it
async def test_log_lines_carry_the_request_id_and_no_names_of_users(site: Site) -> None:
    with site.running("--log-level", "debug") as server:
        async with channel_to(server) as channel:
            call = catalogs_pb2_grpc.CatalogServiceStub(channel).GetCatalog
            with pytest.raises(grpc.aio.AioRpcError):
                await call(catalogs_pb2.GetCatalogRequest(name="catalogs/hush"), metadata=[("x-request-id", "abc-7")])
        server.stop()
        (line,) = (line for line in server.log.splitlines() if "request=abc-7" in line)
        assert re.match(r"time=\S+Z level=debug event=call method=\S+GetCatalog code=NOT_FOUND reason=\w+ ms=", line)
        assert "hush" not in server.log


@pytest.mark.stores("embedded")  # no store has a part in it
def test_a_private_server_ends_by_itself_when_its_last_client_has_gone(site: Site) -> None:
    with site.running("--private") as server:
        assert server.presence["private"] is True
        with grpc.insecure_channel(server.address) as channel:
            call = server_pb2_grpc.ServerServiceStub(channel).KeepOpen(server_pb2.KeepOpenRequest())
            next(call)
            time.sleep(0.2)
            assert server.process.poll() is None
            call.cancel()
        assert server.wait() == 0
        assert not (site.folder / "server.json").exists()


# ------------------------------------------------------------------------------------------------------------- drain


def bytes_received(server: Server) -> float:
    """Return what its metrics say of the bytes that it has received."""
    lines = server.page("/metrics").splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("measurand_bytes_received_total"))


@pytest.mark.stores(*DURABLE)
async def test_on_sigterm_a_running_upload_is_acknowledged_and_goes_on_at_the_next_server(site: Site) -> None:
    chunks = [os.urandom(MiB) for _ in range(6)]
    first = site.start("--http", "127.0.0.1:0")
    async with channel_to(first) as channel:
        await make_run(channel)
        stub = files_pb2_grpc.FileServiceStub(codec_channel(channel))
        spec = files_pb2.FileSpec(name=NAME)
        upload = await stub.CreateUpload(files_pb2.CreateUploadRequest(file=spec))
        call = stub.WriteUpload()
        await call.write(pack(files_pb2.WriteUploadRequest(name=upload.name)))
        for number, chunk in enumerate(chunks[:4]):
            crc = google_crc32c.value(chunk)
            await call.write(pack(files_pb2.WriteUploadRequest(offset=number * MiB, crc32c=crc), chunk))
        # The server has taken them; it need not have acknowledged them.
        await asyncio.to_thread(until, lambda: bytes_received(first) > 4 * MiB)
        first.signal()
        persisted = 0
        with contextlib.suppress(grpc.aio.AioRpcError):
            while (answer := await asyncio.wait_for(call.read(), 60)) is not grpc.aio.EOF:
                assert isinstance(answer, files_pb2.WriteUploadResponse)
                persisted = answer.persisted_size
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        trailers = dict(await call.trailing_metadata() or ())
        assert b"SHUTTING_DOWN" in trailers["grpc-status-details-bin"]
        assert persisted == 4 * MiB
        assert await asyncio.to_thread(first.wait) == 0
    with site.running() as second:
        async with channel_to(second) as channel:
            stub = files_pb2_grpc.FileServiceStub(codec_channel(channel))
            call = stub.WriteUpload()
            await call.write(pack(files_pb2.WriteUploadRequest(name=upload.name)))
            answer = await call.read()
            assert isinstance(answer, files_pb2.WriteUploadResponse) and answer.persisted_size == 4 * MiB
            for number, chunk in enumerate(chunks[4:], 4):
                crc = google_crc32c.value(chunk)
                await call.write(pack(files_pb2.WriteUploadRequest(offset=number * MiB, crc32c=crc), chunk))
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
            file = await stub.CommitUpload(files_pb2.CommitUploadRequest(name=upload.name, size=6 * MiB))
            assert file.checksums.crc32c == google_crc32c.value(b"".join(chunks))


async def test_a_download_that_runs_on_sigterm_comes_to_its_end(site: Site) -> None:
    data = os.urandom(MiB)
    with site.running() as server:
        async with channel_to(server) as channel:
            await make_run(channel)
            stub = files_pb2_grpc.FileServiceStub(codec_channel(channel))
            names = [f"{NAME}{number}" for number in range(40)]
            for name in names:
                await stub.PutFile(pack(files_pb2.PutFileRequest(file=files_pb2.FileSpec(name=name)), data))
            request = files_pb2.ReadFilesRequest(names=names)
            received = 0
            async for message in stub.ReadFiles(request):
                if not received:
                    server.signal()
                    await asyncio.sleep(0.3)
                received += len(unpack(message).data)
        assert received == 40 * MiB
        assert await asyncio.to_thread(server.wait) == 0


async def test_a_caller_that_goes_in_the_middle_of_a_stream_is_no_fault_of_the_server(site: Site) -> None:
    data = os.urandom(MiB)
    with site.running() as server:
        async with channel_to(server) as channel:
            await make_run(channel)
            stub = files_pb2_grpc.FileServiceStub(codec_channel(channel))
            names = [f"{NAME}{number}" for number in range(20)]
            for name in names:
                await stub.PutFile(pack(files_pb2.PutFileRequest(file=files_pb2.FileSpec(name=name)), data))
            for number in range(40):
                call = stub.ReadFiles(files_pb2.ReadFilesRequest(names=names))
                for _ in range(number % 5):
                    await call.read()
                await asyncio.sleep(number % 7 / 1000)
                call.cancel()
            assert await instance(channel)
        assert await asyncio.to_thread(server.stop) == 0
        assert "event=fault" not in server.log


@pytest.mark.stores("embedded")  # no store has a part in it
async def test_a_second_signal_ends_it_at_once(site: Site) -> None:
    with site.running() as server:
        async with channel_to(server) as channel:
            await make_run(channel)
            stub = files_pb2_grpc.FileServiceStub(codec_channel(channel))
            data = bytes(MiB)
            names = [f"{NAME}{number}" for number in range(40)]
            for name in names:
                await stub.PutFile(pack(files_pb2.PutFileRequest(file=files_pb2.FileSpec(name=name)), data))
            request = files_pb2.ReadFilesRequest(names=names)
            call = stub.ReadFiles(request)
            await call.read()  # and nothing more: the server waits for this reader
            server.signal()
            await asyncio.sleep(0.5)
            assert server.process.poll() is None
            server.signal()
            assert await asyncio.wait_for(asyncio.to_thread(server.wait), 15) == 0
