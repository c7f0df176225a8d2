"""What users were promised about arrays: numpy's slices, writers side by side, growing, laziness (ME-9 to ME-14, …)."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tests.end_to_end import resting
from tests.end_to_end.passing import Proxy, proxy
from tests.end_to_end.slicing import plane, rounds
from tests.servers import Server
from tests.stores import DURABLE, Site

from measurand.client import Catalog, Client, Dataset, errors, names

MiB = 1 << 20
SHAPE, CHUNKS = (7, 11, 5, 6), (3, 4, 2, 5)


def bits(value: Any) -> tuple[Any, ...]:
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


@pytest.fixture
def run(lab: Catalog) -> Dataset:
    return lab.create("arrays")


# ----------------------------------------------------------------------------------------- writers at once (ME-9, 10)


@pytest.mark.stores(*DURABLE)
def test_processes_fill_an_array_and_one_chunk_without_a_lock(site: Site) -> None:
    writers = 4
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("shared", id="shared")
        planes = run.create_array("planes", (24, 64, 256), "f4", chunks=(1, None, None))
        shared = run.create_array("shared", 16 * writers, "i8", chunks=16 * writers)
        command = [sys.executable, "-m", "tests.end_to_end.slicing", server.address, "shared"]
        started = [subprocess.Popen([*command, str(number), str(writers)]) for number in range(writers)]
        assert [process.wait(120) for process in started] == [0] * writers
        for number in range(24):
            assert bits(planes[number]) == bits(plane(number))
        assert planes.written.all()
        assert shared[...].tolist() == [rounds(writer) for writer in range(writers) for _ in range(16)]


# ------------------------------------------------------------------------------------- fill, shape, keys (ME-11 to 14)


def test_what_was_not_written_is_known_and_reads_as_fill(run: Dataset) -> None:
    array = run.create_array("flags", (8, 64), "?", chunks=(1, 8))
    assert not array[...].any()
    for place in random.Random(11).sample(range(64), 7):
        array[place // 8, 8 * (place % 8) : 8 * (place % 8) + 8] = True
    assert array.written.shape == (8, 8) and array.written.sum() == 7 and array[...].sum() == 56
    untouched = np.ones((8, 64), bool)
    for key in array.missing():
        untouched[key] = False
    assert (untouched == array[...]).all()
    for dtype, fill in (("f8", np.nan), ("c8", np.nan), ("M8[s]", np.datetime64("NaT")), ("i4", 0), ("U3", "")):
        empty = run.create_array(dtype, 3, dtype)
        assert np.array_equal(empty[...], np.full(3, fill, dtype), equal_nan=dtype != "U3")
    assert run.create_array("seven", 3, "i4", fill=7)[...].tolist() == [7, 7, 7]


def test_the_shape_is_exactly_what_was_asked_for(run: Dataset) -> None:
    array = run.create_array("a", shape=(0, 10), dtype="f8")
    for count in (3, 1, 0):
        array.append(np.full((count, 10), count))
    assert array.shape == (4, 10) and array[:, 0].tolist() == [3, 3, 3, 1]
    with pytest.raises(errors.InvalidArgument):
        array[9:12] = np.ones((3, 10))
    assert run["a"].shape == (4, 10) and array[...].sum() == 100
    array.resize((6, 10))
    assert np.isnan(run["a"][4:]).all()


def random_key(chance: random.Random, shape: tuple[int, ...]) -> Any:
    def item(length: int) -> Any:
        if chance.random() < 0.35:
            return chance.randint(-length - (chance.random() < 0.05), length - (chance.random() > 0.05))
        start, stop = (chance.choice((None, chance.randint(-length - 3, length + 3))) for _ in range(2))
        return slice(start, stop, chance.choice((None, None, 1, 2, -1, -3, *((0,) * (chance.random() < 0.1)))))

    items: list[Any] = [item(length) for length in shape[: chance.randint(0, len(shape))]]
    if chance.random() < 0.3:
        items.insert(chance.randint(0, len(items)), ...)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        items.insert(chance.randint(0, len(items)), None)
    return tuple(items)


def test_random_keys_read_and_write_what_numpy_does(run: Dataset, stores: str) -> None:
    chance, count = random.Random(0), {"memory": 150, "embedded": 60, "fleet": 30}[stores]
    values = np.random.default_rng(0).standard_normal(SHAPE)
    array = run.create_array("a", SHAPE, "f8", chunks=CHUNKS)
    array[...] = values
    for _ in range(count):
        key = random_key(chance, SHAPE)
        try:
            expected = values[key]
        except (IndexError, ValueError) as error:
            with pytest.raises(type(error)):
                array[key]
        else:
            assert bits(array[key]) == bits(expected), key
    for number in range(count // 5):
        key = random_key(chance, SHAPE)
        try:
            shape = values[key].shape
        except (IndexError, ValueError) as error:
            with pytest.raises(type(error)):
                array[key] = 1
            continue
        cut = tuple(1 if chance.random() < 0.3 else length for length in shape[chance.randint(0, len(shape)) :])
        value = np.arange(np.prod(cut, dtype=int)).reshape(cut) + number
        array[key] = values[key] = value
        if shape == ():
            values[key] = value
    assert bits(array[...]) == bits(values)


def test_arrays_are_loaded_by_name(run: Dataset) -> None:
    run["z"], run["a"] = np.arange(10), np.arange(10) * 2
    loaded = run.load({"z": np.s_[0:2], "a": np.s_[5:9]})
    assert {name: part.tolist() for name, part in loaded.items()} == {"z": [0, 1], "a": [10, 12, 14, 16]}
    with pytest.raises(errors.NotFound):
        run.load({"z": ..., "b": ...})
    with pytest.raises(KeyError):
        run["b"]
    assert "z" in run and "b" not in run and list(run) == ["a", "z"]


# ------------------------------------------------------------------------------------------------ traffic (ME-19, 32)


def figure(server: Server, name: str) -> float:
    lines = [line for line in server.page("/metrics").splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_part_of_one_chunk_moves_about_one_chunk(site: Site) -> None:
    with site.running("--http", "127.0.0.1:0") as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("run")
        values = np.random.default_rng(0).integers(0, 2**16, (4, 1024, 1024), "u2")
        run.write_array("a", values, chunks=(1, 512, 512))
        array = run["a"]
        for key, most in ((np.s_[1, 100:110, 100:110], 576 << 10), (np.s_[1], 2_150_000)):
            before = [figure(server, name) for name in COUNTERS]
            assert bits(array[key]) == bits(values[key])
            for name, start in zip(COUNTERS, before, strict=True):
                assert 0 < figure(server, name) - start <= most, name


COUNTERS = ("measurand_blob_bytes_read_total", "measurand_bytes_sent_total")


@pytest.mark.stores("memory")
def test_handles_cost_no_data(site: Site) -> None:
    with site.running("--http", "127.0.0.1:0") as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("run")
        for number in range(200):
            run.create_array(f"a{number:03}", (128, 1024, 1024), "f8")
        before = figure(server, "measurand_bytes_sent_total")
        handles = run.arrays()
        assert [array.nbytes for array in handles] == [1 << 30] * 200
        assert [run[array.name].shape for array in handles] == [(128, 1024, 1024)] * 200
        assert figure(server, "measurand_bytes_sent_total") - before < 200 * 1024


def test_dask_and_other_processes_take_a_handle(run: Dataset) -> None:
    da = pytest.importorskip("dask.array")
    values = np.arange(1000.0).reshape(10, 100)
    array = run.write_array("a", values, chunks=(3, 100))
    lazy = da.from_array(array, chunks=array.chunks)
    assert da.from_array(array).sum().compute() == values.sum()
    assert lazy.chunks == ((3, 3, 3, 1), (100,)) and lazy.dtype == values.dtype
    assert bits((lazy[2:5, ::7] * 2).compute(scheduler="threads")) == bits(values[2:5, ::7] * 2)
    assert len(array) == 10 and [row.sum() for row in array] == values.sum(1).tolist()
    assert np.asarray(array, "f4").dtype == np.dtype("f4") and np.sum(array) == values.sum()
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(array, copy=False)
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer)[2:4].sum())"
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(array), capture_output=True, check=True)
    assert float(done.stdout) == values[2:4].sum()


# -------------------------------------------------------------------------------------- faults on the way and at rest


@pytest.mark.stores(*DURABLE)
def test_a_flipped_bit_is_told_with_array_and_chunk(site: Site) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 300_000)).astype("u1")
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("run")
        run.write_array("a", values, chunks=(1, None), codec="none")
        ((key, position),) = resting.holders(site, values[2, :4000].tobytes())
        resting.flip(site, key, position + 2000)
        with pytest.raises(errors.DataLoss, match=r"arrays/a.*chunk") as raised:
            run["a"][...]
        assert raised.value.reason == "STORED_DATA_CORRUPT"
        with pytest.raises(errors.DataLoss):
            run["a"][2, 5]
        assert bits(run["a"][3]) == bits(values[3])


@pytest.fixture
def passing(shared: Server) -> Iterator[Proxy]:
    with proxy() as passing:
        passing.lead_to(shared.address)
        yield passing


@pytest.mark.stores("embedded")
def test_reading_and_writing_go_on_over_cut_connections(passing: Proxy, run: Dataset) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, MiB)).astype("u1")
    with Client(passing.address) as client:
        mine = client.catalog(run.catalog).get(run.id)
        for place in (5 * MiB, 17 * MiB, 30 * MiB):
            passing.at(passing.sent_bytes + place, passing.cut)
        array = mine.write_array("a", values, chunks=(1, None), codec="none")
        assert passing.sent_bytes < 40 * MiB + 3 * 20 * MiB
        out = np.zeros_like(values)
        passing.at(passing.sent_bytes + 300, passing.cut)  # while the requests go out
        array.read(out=out)
        assert bits(out) == bits(values)


@pytest.mark.stores("embedded")
def test_an_array_is_written_and_grown_over_a_killed_server(site: Site) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, MiB)).astype("u1")
    running = [site.start()]

    with proxy() as way:

        def replace() -> None:
            running[-1].kill()
            running.append(site.start())
            way.lead_to(running[-1].address)

        way.lead_to(running[0].address)
        try:
            with Client(way.address) as client:
                run = client.create_catalog("lab").create("run")
                run["a"] = values[:2]
                way.at(way.sent_bytes + 11 * MiB, replace)
                run.write_array("a", values, chunks=(1, None), codec="none")
                assert len(running) == 2 and bits(run["a"][...]) == bits(values)
                way.at(way.sent_bytes + 3 * MiB, replace)
                assert run["a"].append(values[:5]) == 20
                assert len(running) == 3 and bits(run["a"][18:]) == bits(np.concatenate([values[18:], values[:5]]))
        finally:
            running[-1].stop()


@pytest.mark.stores("embedded")
def test_every_block_is_appended_once_over_cut_connections(passing: Proxy, run: Dataset) -> None:
    run.create_array("a", (0, 3), "i4", chunks=(7, 3))
    chance = random.Random(5)
    with Client(passing.address) as client:
        array = client.catalog(run.catalog).get(run.id)["a"]
        for number in range(15):
            passing.at(passing.sent_bytes + chance.randrange(1500), passing.cut)
            assert array.append(np.full((2, 3), number, "i4")) == 2 * number
    assert run["a"][:, 0].tolist() == [number for number in range(15) for _ in range(2)]


# -------------------------------------------------------------------------------------------- against numpy, at random


@pytest.fixture
def _request_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis makes Python's random numbers repeat, by which requests are told from each other."""
    monkeypatch.setattr(names, "request_id", lambda: str(uuid.uuid4()))


@pytest.mark.usefixtures("_request_ids")
def test_any_array_reads_and_is_changed_as_numpys(run: Dataset, stores: str) -> None:
    dtypes = st.one_of(
        npst.boolean_dtypes(),
        npst.integer_dtypes(),
        npst.unsigned_integer_dtypes(),
        npst.floating_dtypes(sizes=(16, 32, 64)),
        npst.complex_number_dtypes(sizes=(64, 128)),
        npst.datetime64_dtypes(max_period="Y", min_period="ns"),
    )
    shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)

    @settings(max_examples={"memory": 25, "embedded": 10, "fleet": 6}[stores])
    @given(st.data())
    def check(data: st.DataObject) -> None:
        dtype, shape = data.draw(dtypes), data.draw(shapes)
        values = data.draw(npst.arrays(dtype, shape))
        chunks = tuple(data.draw(st.integers(1, 10)) for _ in shape)
        native = np.asarray(values, dtype.newbyteorder("="))
        array = run.write_array("a", values, chunks=chunks, codec=data.draw(st.sampled_from(("none", "zstd", None))))
        assert bits(array[...]) == bits(native)
        keys = npst.basic_indices(shape, allow_newaxis=True) if shape else st.just(...)
        for _ in range(2):
            key = data.draw(keys)
            assert bits(array[key]) == bits(native[key])
        key = data.draw(keys)
        value = data.draw(npst.arrays(dtype.newbyteorder("="), np.shape(native[key])))
        array[key] = native[key] = value
        assert bits(array[...]) == bits(native)

    check()
