"""What holds for all tests, and the server that most tests of services talk to.

The fixtures import what they need themselves: most tests need no server, and start the quicker without one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tests.stores import Site, open_site, sets_of

if TYPE_CHECKING:
    import grpc.aio
    from tests.servers import Server

    from measurand.server.process import Process
    from measurand.v1.arrays_pb2_grpc import ArrayServiceAsyncStub
    from measurand.v1.buffers_pb2_grpc import BufferServiceAsyncStub
    from measurand.v1.files_pb2_grpc import FileServiceAsyncStub

settings.register_profile("measurand", deadline=None)  # a busy machine must not turn a right answer into a failure
settings.load_profile("measurand")


LONGEST = (
    "end_to_end/test_chaos.py",
    "end_to_end/test_outages.py",
    "end_to_end/test_backup.py",
    "end_to_end/test_behaviours_metadata.py",
    "end_to_end",
    "workshop",
    "storage",
    "services",
)
"""What takes longest, which is mostly to wait; the rest comes behind it."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stores(*sets): run on these sets of stores, see tests/stores.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stores" not in metafunc.fixturenames:
        return
    folder = metafunc.definition.path.relative_to(Path(__file__).parent).parts[0]
    sets = sets_of(folder, metafunc.definition.get_closest_marker("stores"))
    metafunc.parametrize("stores", sets, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that in the end no process works alone while all others are done."""

    @cache
    def place(file: Path) -> int:
        path = file.relative_to(Path(__file__).parent)
        return next((at for at, name in enumerate(LONGEST) if path.is_relative_to(name)), len(LONGEST))

    items.sort(key=lambda item: place(item.path))


@pytest.fixture(scope="session")
def stores(request: pytest.FixtureRequest) -> str:
    """The set of stores that the test runs on."""
    return str(request.param)


@pytest.fixture(scope="session")
def server_over(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Gives the server process over a set of stores: started when first asked for, it stays for all who share it."""
    with ExitStack() as ending:

        @cache
        def start(stores: str) -> Server:
            site = ending.enter_context(open_site(stores, tmp_path_factory.mktemp("shared") / "store"))
            return ending.enter_context(site.running())

        def server(stores: str) -> Server:
            started = start(stores)
            assert started.process.poll() is None, started.log
            return started

        yield server


@pytest.fixture
def site(stores: str, tmp_path: Path) -> Iterator[Site]:
    """Empty stores of the test's own."""
    with open_site(stores, tmp_path / "store") as site:
        yield site


@pytest.fixture
async def server(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    """A server over them, in the event loop of the test."""
    from tests.servers import in_process

    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    async with in_process(site.config()) as process:
        yield process


@pytest.fixture
async def channel(server: Process) -> AsyncIterator[grpc.aio.Channel]:
    """A plain channel to it; wrap it in `codec_channel` for the bulk codec."""
    import grpc.aio

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(str(server.address), options=options) as channel:
        yield channel


@pytest.fixture
async def run(channel: grpc.aio.Channel) -> str:
    """The name of an empty dataset."""
    from measurand.v1 import catalogs_pb2, catalogs_pb2_grpc, datasets_pb2, datasets_pb2_grpc

    catalogs = catalogs_pb2_grpc.CatalogServiceStub(channel)
    await catalogs.CreateCatalog(catalogs_pb2.CreateCatalogRequest(catalog_id="lab"))
    datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
    request = datasets_pb2.CreateDatasetRequest(parent="catalogs/lab", dataset_id="run")
    return (await datasets.CreateDataset(request)).name


@pytest.fixture
async def stub(channel: grpc.aio.Channel, run: str) -> FileServiceAsyncStub:
    """The files service over the bulk codec; `run` is there."""
    from measurand.v1 import files_pb2_grpc
    from measurand.wire.codec import codec_channel

    assert run == "catalogs/lab/datasets/run"
    return files_pb2_grpc.FileServiceStub(codec_channel(channel))


@pytest.fixture
async def arrays(channel: grpc.aio.Channel, run: str) -> ArrayServiceAsyncStub:
    """The arrays service over the bulk codec; `run` is there."""
    from measurand.v1 import arrays_pb2_grpc
    from measurand.wire.codec import codec_channel

    assert run == "catalogs/lab/datasets/run"
    return arrays_pb2_grpc.ArrayServiceStub(codec_channel(channel))


@pytest.fixture
async def buffers(channel: grpc.aio.Channel, run: str) -> BufferServiceAsyncStub:
    """The buffers service over the bulk codec; the catalog `lab` is there."""
    from measurand.v1 import buffers_pb2_grpc
    from measurand.wire.codec import codec_channel

    assert run.startswith("catalogs/lab/")
    return buffers_pb2_grpc.BufferServiceStub(codec_channel(channel))
