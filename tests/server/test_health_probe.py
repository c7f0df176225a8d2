"""The command by which containers ask whether the server in them takes calls."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from tests.services.probe import probing

from measurand.server.health import ALIVE
from measurand.server.health_probe import main
from measurand.server.process import Process


async def nothing() -> None:
    """What the probed service does."""


async def test_it_ends_with_0_while_the_server_takes_calls(server: Process) -> None:
    assert await asyncio.to_thread(main, [str(server.address)]) == 0
    assert await asyncio.to_thread(main, [str(server.address), "measurand.v1.FileService"]) == 0


async def test_it_ends_with_1_and_says_why_when_nobody_listens(
    unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, [f"127.0.0.1:{unused_tcp_port}"]) == 1
    assert "Connection refused" in capsys.readouterr().err


async def test_a_server_whose_store_is_away_takes_no_calls_and_is_alive(capsys: pytest.CaptureFixture[str]) -> None:
    async with probing(nothing) as probed:
        address = str(probed.address)
        await probed.listener.tell(is_well=False)
        assert await asyncio.to_thread(main, [address]) == 1
        assert f"{address}: it says that it does not take calls" in capsys.readouterr().err
        assert await asyncio.to_thread(main, [address, ALIVE]) == 0
        await probed.listener.tell(is_well=True)
        assert await asyncio.to_thread(main, [address]) == 0


async def test_a_service_that_there_is_not_takes_no_calls(server: Process) -> None:
    assert await asyncio.to_thread(main, [str(server.address), "measurand.v1.None"]) == 1


def test_it_is_light_and_says_how_it_is_called() -> None:
    script = "import sys; from measurand.server.health_probe import main; code = main([]); print(code, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    code, *loaded = done.stdout.split()
    assert code == "2"
    assert "HOST:PORT" in done.stderr
    assert not {"google.protobuf", "pydantic", "measurand.server.config"} & set(loaded)
