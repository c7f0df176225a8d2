"""What is sealed is opened with zarr-python and xarray while no server runs, from a folder and from a bucket."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
import pytest
import xarray as xr
import zarr
from tests.end_to_end.serving import until
from tests.end_to_end.test_doctor import doctor
from tests.plain_places import zarr_store
from tests.s3_places import on_seaweed
from tests.sealed_arrays import same
from tests.stores import BUCKET, DURABLE, Site
from zarr.abc.store import Store

from measurand.client import Client, Dataset
from measurand.client.errors import FailedPrecondition, FeatureDisabled, Sealed
from measurand.v1 import datasets_pb2, datasets_pb2_grpc

pytestmark = [pytest.mark.stores(*DURABLE), pytest.mark.usefixtures("_own_places")]

Arrays = Mapping[str, np.ndarray[Any, Any]]
CHANCE = np.random.default_rng(0)
FREQUENCY = 4e9 + 1e8 * np.arange(60.0)
IQ = CHANCE.standard_normal((60, 100, 30)).astype("f4")
MANY = np.arange(1200, dtype="i4")


def measure(run: Dataset) -> Arrays:
    """Store arrays of many kinds, and return what they are."""
    large = CHANCE.integers(0, 1 << 60, (3, 200_000))  # chunks that are blobs of their own
    spectrum = IQ.astype("c8") * np.complex64(1 + 2j)
    iq = run.create_array("iq", IQ.shape, IQ.dtype, chunks=(8, 100, 30), dims=("frequency", "time", "shot"))
    iq[...] = IQ
    run.create_array("frequency", (60,), "f8", dims=("frequency",), attrs={"unit": "Hz"})[...] = FREQUENCY
    grown = run.create_array("entry/grown", (0, 7), "u2", chunks=(4, 7))
    for start in range(0, 10, 5):
        grown.append(np.full((5, 7), start, "u2"))
    part = run.create_array("entry/part", (50, 50), "f8", chunks=(20, 20), fill=np.nan)
    part[10:15, 10:30] = 1.5
    run["entry/large"] = large
    run["entry/spectrum"] = spectrum
    run["scalar"] = np.float64(-0.0)
    run["empty"] = np.zeros((0, 3), "i2")
    partly = np.full((50, 50), np.nan)
    partly[10:15, 10:30] = 1.5
    return {
        "iq": IQ,
        "frequency": FREQUENCY,
        "entry/grown": np.repeat(np.array([0, 5], "u2"), 35).reshape(10, 7),
        "entry/part": partly,
        "entry/large": large,
        "entry/spectrum": spectrum,
        "scalar": np.array(-0.0),
        "empty": np.zeros((0, 3), "i2"),
    }


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """What zarr-python reads a layout by, past everything of ours."""
    store = zarr_store(url, on_seaweed() if url.startswith("s3:") else None)
    try:
        yield store
    finally:
        store.close()


def check(url: str, arrays: Arrays) -> None:
    with opened(url) as store:
        group = zarr.open_group(store, mode="r")
        for path, values in arrays.items():
            array = group[path]
            assert isinstance(array, zarr.Array)
            assert same(np.asarray(array[...]), values), path


def test_zarr_and_xarray_open_it_when_no_server_runs(site: Site) -> None:
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("Night sweep", id="run")
        arrays = measure(run)
        with pytest.raises(FailedPrecondition, match="seal it"):
            run.publish()
        run.seal()
        urls = [run.plain_url]
        told: list[tuple[int, int]] = []
        urls.append(run.publish(lambda done, total: told.append((done, total))))
        assert told[-1][0] == told[-1][1] > 20
        assert run.plain_url == client.catalog("lab").get("run").plain_url == urls[1]
        assert run.publish() == urls[1]
        with pytest.raises(Sealed):
            run["iq"][0, 0, 0] = 1.0
        assert np.array_equal(run["iq"][3], IQ[3])
    assert urls[1].endswith("/sealed/lab/run.zarr")
    assert site.kind == "fleet" or urls[0] == urls[1] == (site.folder / "sealed/lab/run.zarr").as_uri()
    for url in urls:
        check(url, arrays)
        with opened(url) as store, xr.open_zarr(store, chunks=None) as found:
            assert found["iq"].dims == ("frequency", "time", "shot")
            assert found["frequency"].attrs["unit"] == "Hz"
            line = found["iq"].sel(frequency=5e9, method="nearest")
            assert np.array_equal(line.values, IQ[10])
            assert found.attrs["title"] == "Night sweep"


@pytest.mark.stores("embedded")
def test_chunks_take_no_room_twice_in_a_folder(site: Site) -> None:
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create(id="run")
        run["large"] = CHANCE.integers(0, 1 << 60, (3, 200_000))
        run.seal()
    blobs = {path.stat().st_ino for path in site.folder.glob("blobs/*/*")}
    chunks = list(site.folder.glob("sealed/lab/run.zarr/large/c/*/*"))
    assert chunks and all(path.stat().st_ino in blobs for path in chunks)


def test_neither_doctor_nor_collector_minds_it_and_a_purge_takes_it_away(site: Site) -> None:
    with site.running() as server, Client(server.address) as client:
        lab = client.create_catalog("lab")
        run, other = lab.create(id="run"), lab.create(id="other")
        for one in (run, other):
            one["iq"] = IQ
            one.seal()
            one.publish()
        assert not doctor(site, "--deep").bad
        run.delete()
        check(run.plain_url, {"iq": IQ})  # it can be undeleted
        run.purge()
        check(other.plain_url, {"iq": IQ})
    assert not [path for path in files(site) if path.startswith("lab/run.")]
    check(other.plain_url, {"iq": IQ})


def test_a_server_that_is_killed_while_it_seals_leaves_nothing_half(site: Site) -> None:
    """In the middle of laying out: the next server does it again, and all of it is there."""
    with site.running() as server:
        with Client(server.address) as client:
            run = client.create_catalog("lab").create(id="run")
            run.create_array("many", MANY.shape, MANY.dtype, chunks=1)[...] = MANY
        working = threading.Thread(target=seal, args=(server.address, run.name))
        working.start()
        until(lambda: begun(site))
        server.kill()
        seen = set(files(site))
        working.join()
    is_whole = site.kind == "embedded" and "lab/run.zarr/zarr.json" in seen
    assert "lab/run.zarr/zarr.json" not in seen or is_whole
    with site.running() as server, Client(server.address) as client:
        run = client.catalog("lab").get("run")
        run.seal()
        url = run.publish()
    check(url, {"many": MANY})
    if site.kind == "embedded":
        assert [path.name for path in (site.folder / "sealed/lab").iterdir()] == ["run.zarr"]


def seal(address: str, name: str) -> None:
    """Seal and publish, and give up when the server is gone."""
    with grpc.insecure_channel(address) as channel, suppress(grpc.RpcError):
        stub = datasets_pb2_grpc.DatasetServiceStub(channel)
        stub.SealDataset(datasets_pb2.SealDatasetRequest(name=name))
        stub.PublishDataset(datasets_pb2.PublishDatasetRequest(name=name))


@pytest.mark.stores("memory")
def test_a_store_without_a_place_for_it_says_so(site: Site) -> None:
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create(id="run")
        run["iq"] = IQ
        run.seal()
        assert run.plain_url == ""
        with pytest.raises(FeatureDisabled, match="through the server"):
            run.publish()
        assert np.array_equal(run["iq"][...], IQ)


def files(site: Site) -> list[str]:
    """Return the paths of all that lies below `sealed`, drafts too."""
    if site.kind == "embedded":
        sealed = site.folder / "sealed"
        return [str(path.relative_to(sealed)) for path in sealed.rglob("*") if path.is_file()]
    prefix = f"{site.options[-1].partition('?')[0].removeprefix(f's3://{BUCKET}/')}/sealed/"
    pages = on_seaweed().client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"].removeprefix(prefix) for page in pages for each in page.get("Contents", [])]


def begun(site: Site) -> bool:
    """Tell whether laying out is in the middle: some chunks are there, in a draft or before what opens them."""
    return sum("/c/" in path for path in files(site)) > 50
