"""A growing measurement whose server is killed (-9) again and again: readers see whole frames, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import numpy as np
import pytest
from tests.end_to_end.fleet import Servant
from tests.end_to_end.serving import make_run
from tests.services.array_calls import Writer, get, make, read
from tests.stores import DURABLE, Site

from measurand.v1 import arrays_pb2, arrays_pb2_grpc
from measurand.wire.codec import codec_channel

if TYPE_CHECKING:
    from tests.services.array_calls import Stub

FRAME = (50, 1000)
FRAMES = 120
KILLS = 3

pytestmark = pytest.mark.stores(*DURABLE)


class Measurement:
    """Frames that are streamed, each full of its own number, and what was said of them.

    Parameters
    ----------
    array : Array
        One frame a chunk.
    """

    def __init__(self, stub: Stub, array: arrays_pb2.Array, seed: int) -> None:
        self._stub = stub
        self._array = array
        self._chance = random.Random(seed)
        self.acknowledged = 0
        """Rows that the server has said are durable and visible."""
        self.has_ended = asyncio.Event()
        self.looks = 0

    async def write(self, victim: Servant) -> None:
        """Stream all frames; kill the server at moments chosen by chance, and go on where it was."""
        kills = sorted(self._chance.sample(range(5, FRAMES - 5), KILLS))
        while self.acknowledged < FRAMES:
            due = next((at for at in kills if at > self.acknowledged), None)
            try:
                await self._stream(None if due is None else (due, victim))
            except grpc.aio.AioRpcError as error:
                # The server has died; and gRPC calls it INTERNAL when it was just about to send.
                if victim.process is not None and error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            if victim.process is None:
                await asyncio.to_thread(victim.start)
                kills = [at for at in kills if due is None or at > due]
        self.has_ended.set()

    async def _stream(self, kill: tuple[int, Servant] | None) -> None:
        writer = Writer(self._stub, self._array, append=True)
        first = (await writer.open()).visible_rows
        assert first >= self.acknowledged, "what was acknowledged is gone"

        async def send() -> None:
            for sequence, row in enumerate(range(first, FRAMES), 1):
                await writer.put(sequence, (row, 0, 0), row, grow_to=row + 1)
                if kill is not None and row == kill[0]:
                    kill[1].kill()
            await writer.call.done_writing()

        sending = asyncio.ensure_future(send())
        try:
            while (answer := await writer.call.read()) is not grpc.aio.EOF:
                assert isinstance(answer, arrays_pb2.WriteArrayChunksResponse)
                self.acknowledged = max(self.acknowledged, answer.visible_rows)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def look(self) -> None:
        """Read all the time: the array never shrinks, and each of its frames is whole."""
        rows = 0
        while not self.has_ended.is_set():
            try:
                promised = self.acknowledged
                seen = (await get(self._stub, "x")).shape[0]
                assert seen >= max(rows, promised)
                rows = seen
                frames = await read(self._stub, "x", (slice(max(0, rows - 5), rows),))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.01)
                continue
            for number, frame in enumerate(frames, max(0, rows - 5)):
                assert (frame == number).all(), "a frame that is not whole"
            self.looks += 1


@pytest.mark.parametrize("seed", range(2))
async def test_a_measurement_grows_on_over_the_deaths_of_its_server(site: Site, seed: int) -> None:
    victim = Servant(site, program="measurand.server.run")
    victim.start()
    try:
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        async with grpc.aio.insecure_channel(victim.address, options=options) as channel:
            await make_run(channel)
            stub = arrays_pb2_grpc.ArrayServiceStub(codec_channel(channel))
            made = await make(stub, "x", (0, *FRAME), "uint16", (1, *FRAME))
            measurement = Measurement(stub, made, seed)
            await asyncio.gather(measurement.write(victim), measurement.look())
            assert measurement.looks
            found = await read(stub, "x")
            assert (found == np.arange(FRAMES, dtype="uint16")[:, None, None]).all()
            assert (await get(stub, "x")).append_epoch > len(victim.logs) > 0
    finally:
        victim.stop()
