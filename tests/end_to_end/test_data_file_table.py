"""Every call of the DataFile way of working, as docs/arrays.md says it: one test for each row of its table."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr
from tests.servers import Server, running

from measurand.client import AsyncClient, Catalog, Client, DataFile, Dataset, errors

IQ = np.linspace(-1, 1, 40, dtype="c8").reshape(8, 5)


def bits(value: Any) -> tuple[Any, ...]:
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


@pytest.fixture
def run(lab: Catalog) -> Dataset:
    """A dataset with an array and a file."""
    run = lab.create("rabi", {"station": "atlantis-1", "flag": "none", "notes": {"first": 1}}, tags=["t1"])
    run["iq"] = IQ
    run.write_bytes("out/trace.csv", b"a\n1\n")
    return run


# ------------------------------------------------------------------------------------------------------ save and load


def test_data_file_of_data_sets_then_save(lab: Catalog) -> None:
    run = lab.create("rabi", {"f": 5.1e9})
    run["iq"] = IQ
    saved = lab.save(DataFile("rabi", {"f": 5.1e9}, arrays={"iq": IQ}))
    for one in (run, saved):
        found = lab.get(one.id)
        assert (found.title, found.metadata) == ("rabi", {"f": 5.1e9})
        assert bits(found["iq"]) == bits(IQ)


def test_measurement_handle_new(lab: Catalog) -> None:
    assert len(lab.create("one").id) == 26
    assert lab.create("two", id="run-17").id == "run-17"


def test_post_save_and_save_data_file(lab: Catalog, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("a\n1\n")
    run = lab.save(DataFile("rabi", arrays={"iq": IQ}, files=[tmp_path / "trace.csv"]))
    assert bits(lab.get(run.id)["iq"]) == bits(IQ)
    assert run.read_bytes("trace.csv") == b"a\n1\n"


async def test_save_data_file_async(shared: Server, lab: Catalog) -> None:
    async with AsyncClient(shared.address) as client:
        alab = await client.catalog(lab.id)
        run = await alab.save(DataFile("rabi", arrays={"iq": IQ}))
        assert bits(await (await run.array("iq")).read()) == bits(IQ)


def test_save_data_file_in_background(lab: Catalog) -> None:
    saved = lab.save_in_background(DataFile("rabi", arrays={"iq": IQ}))
    assert bits(lab.get(saved.result(60).id)["iq"]) == bits(IQ)


def test_get_load(lab: Catalog, run: Dataset) -> None:
    found = lab.get(run.id)
    assert bits(found["iq"][...]) == bits(IQ)


def test_load_without_data(lab: Catalog) -> None:
    made = lab.create("huge")
    made.create_array("x", (1 << 20, 1 << 20), "f8")  # 8 TiB
    found = lab.get(made.id)["x"]
    assert (found.shape, found.dtype, found.nbytes) == ((1 << 20, 1 << 20), np.dtype("f8"), 1 << 43)


def test_load_path(run: Dataset, tmp_path: Path) -> None:
    run.download_dir(tmp_path / "dir")
    assert (tmp_path / "dir/out/trace.csv").read_bytes() == b"a\n1\n"


def test_load_partial_by_slices(run: Dataset) -> None:
    assert bits(run["iq"][3:7:2]) == bits(IQ[3:7:2])
    run["a"] = np.arange(10)
    loaded = run.load({"iq": np.s_[3:7:2], "a": np.s_[5:9]})
    assert {name: bits(value) for name, value in loaded.items()} == {
        "iq": bits(IQ[3:7:2]),
        "a": bits(np.arange(5, 9)),
    }


# ------------------------------------------------------------------------------------------------------ fill and stream


def test_post_init(run: Dataset) -> None:
    array = run.create_array("x", (4, 6), "f4", chunks=(2, 6))
    assert (array.shape, array.chunks, array.written.sum()) == ((4, 6), (2, 6), 0)
    assert np.isnan(array[...]).all()


def test_update_data_by_slices(run: Dataset) -> None:
    run["iq"][2:4] = IQ[:2] * 2
    expected = IQ.copy()
    expected[2:4] = IQ[:2] * 2
    assert bits(run["iq"]) == bits(expected)


def test_update_metadata(lab: Catalog, run: Dataset) -> None:
    run.update({"f": 5.1e9})
    assert lab.get(run.id).metadata["f"] == 5.1e9
    run.replace_metadata({"new": True})
    assert lab.get(run.id).metadata == {"new": True}


def test_update_metadata_and_data(lab: Catalog, run: Dataset) -> None:
    run.update({"f": 5.1e9})
    run["iq"][...] = IQ * 2
    found = lab.get(run.id)
    assert found.metadata["f"] == 5.1e9
    assert bits(found["iq"]) == bits(IQ * 2)


def test_memory_and_close_are_nothing_to_do(shared: Server, lab: Catalog) -> None:
    client = Client(shared.address)
    assert client.catalog(lab.id).id == lab.id
    client.close()
    with pytest.raises(errors.FailedPrecondition):
        client.catalog(lab.id)


def test_stream_start(run: Dataset) -> None:
    with run.stream_array("shots", (5,), "c8") as stream:
        for row in IQ:
            stream.write(row)
    assert bits(run["shots"]) == bits(IQ)


def test_save_buffer_with_index_and_callback(run: Dataset) -> None:
    durable: list[int] = []
    order = np.random.default_rng(0).permutation(len(IQ))
    with run.stream_array("shots", (5,), "c8") as stream:
        stream.on_durable(durable.append)
        for index in order:
            stream.write(IQ[index], index=int(index))
        stream.flush()
        assert bits(run["shots"]) == bits(IQ)
    assert sorted(durable) == list(range(len(IQ)))


def test_stream_end_with_metadata(lab: Catalog, run: Dataset) -> None:
    with run.stream_array("shots", (5,), "c8") as stream:
        stream.write(IQ[0])
    run.update({"done": True})
    run.seal()
    assert lab.get(run.id).state == "sealed"
    with pytest.raises(errors.Sealed):
        run["shots"] = IQ


# ------------------------------------------------------------------------------------------------ servers and settings


def test_setup_is_a_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / "measurand.toml").write_text('message_of_the_day = "x"\n')
    command = [sys.executable, "-m", "measurand.cli.main", "serve", "--config", str(tmp_path / "measurand.toml")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    assert "message_of_the_day" in refused.stderr
    (tmp_path / "measurand.toml").write_text('documents = "memory:"\nblobs = "memory:"\n')
    with (
        running(tmp_path / "data", "--config", str(tmp_path / "measurand.toml")) as server,
        Client(server.address) as client,
    ):
        assert client.server()["document_store"] == "memory"


@pytest.mark.usefixtures("_own_places")
def test_frontends_in_process(tmp_path: Path) -> None:
    with Client("memory:") as client:
        run = client.create_catalog("lab").create("rabi")
        run["iq"] = IQ
        assert bits(run["iq"]) == bits(IQ)
    with Client((tmp_path / "data").as_uri()) as client:
        client.create_catalog("lab").create("rabi", id="run-17")["iq"] = IQ
    with Client((tmp_path / "data").as_uri()) as client:
        assert bits(client.catalog("lab").get("run-17")["iq"]) == bits(IQ)


# ------------------------------------------------------------------------------------------------- arrays by name, CSV


def test_get_dataset_by_name(run: Dataset) -> None:
    assert bits(run["iq"]) == bits(IQ)
    with pytest.raises(KeyError):
        run["q"]
    with pytest.raises(errors.NotFound, match="arrays/q"):
        run["q"]


def test_datasets_from_csv(run: Dataset, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("f,ok\n5.1e9,True\n5.2e9,False\n")
    run.import_csv(tmp_path / "table.csv")
    assert bits(run["f"]) == bits(np.array([5.1e9, 5.2e9]))
    assert bits(run["ok"]) == bits(np.array([True, False]))


def test_export(shared: Server, lab: Catalog, tmp_path: Path) -> None:
    run = lab.create("sweep")
    run.write_array("f", np.array([5.1e9, 5.2e9]), dims=("f",))
    run.write_array("v", np.array([0.5, -0.0]), dims=("f",))
    run.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "f,v\n5100000000.0,0.5\n5200000000.0,-0.0\n"
    with run.to_xarray() as view:
        view.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as opened:
        assert bits(opened["v"].values) == bits(np.array([0.5, -0.0]))
    command = [sys.executable, "-m", "measurand.cli.main", "get", f"{lab.id}/{run.id}", "-o", "x.zarr"]
    subprocess.run([*command, "--url", shared.address], check=True, cwd=tmp_path, timeout=60)
    with xarray.open_zarr(tmp_path / "x.zarr") as opened:
        assert float(opened["v"].sel(f=5.11e9, method="nearest")) == 0.5


# --------------------------------------------------------------------------------------------------------------- search


def test_get_number_of_documents(lab: Catalog, run: Dataset) -> None:
    lab.create("Rabi again")
    lab.create("t1")
    assert lab.count('title =~ "(?i)rabi"') == 2


def test_get_document_with_projection(lab: Catalog, run: Dataset) -> None:
    found = lab.get(run.id, fields=["title", "metadata.station"])
    assert (found.title, found.metadata) == ("rabi", {"station": "atlantis-1"})


def test_get_many_documents(lab: Catalog) -> None:
    made = [lab.create(f"run {number}", {"n": number, "large": "x" * 1000}) for number in range(5)]
    found = lab.find("metadata.n >= 2", fields=["title"], order_by="-created")
    assert [one.id for one in found] == [one.id for one in reversed(made[2:])]
    first = lab.find("metadata.n >= 2", order_by="-created").first()
    assert first is not None and first.id == made[-1].id
    pages = lab.find("metadata.n >= 2", order_by="created", page_size=2)
    assert [[one.id for one in pages.page(number)] for number in (0, 1)] == [
        [one.id for one in made[2:4]],
        [made[4].id],
    ]
    assert list(lab.find("metadata.n >= 3").to_pandas()["title"]) == ["run 3", "run 4"]


def test_get_many_documents_by_id(lab: Catalog) -> None:
    ids = [lab.create(f"run {number}").id for number in range(3)]
    assert [one.id for one in lab.get_many(ids[::-1])] == ids[::-1]


def test_get_name_and_date(lab: Catalog, run: Dataset) -> None:
    (found,) = lab.find("", fields=["title", "created"])
    assert (found.title, found.created, found.metadata) == ("rabi", run.created, {})


def test_get_and_exclude_large_fields(lab: Catalog) -> None:
    lab.create("rabi", {"instruments": {"a": 1}, "compiler_data": "x", "f": 5})
    (found,) = lab.find("", fields=["-metadata.instruments", "-metadata.compiler_data"])
    assert found.metadata == {"f": 5}


def test_update_document_set_and_push(lab: Catalog, run: Dataset) -> None:
    run.update({"notes": {"second": 2}})
    run.add_tags("good")
    found = lab.get(run.id)
    assert found.metadata["notes"] == {"first": 1, "second": 2}
    assert found.tags == ("good", "t1")


def test_get_data_group(run: Dataset) -> None:
    with run.zarr_store() as store:
        group: Any = zarr.open(store, mode="r")
        assert bits(group["iq"][...]) == bits(IQ)


def test_regex_date_and_station(lab: Catalog) -> None:
    run = lab.create("qubit t1", {"station": "Atlantis - 1"})
    lab.create("qubit t1", {"station": "Atlantis - 2"})
    assert run.created is not None
    hour = timedelta(hours=1)
    a, b = ((run.created.astimezone(UTC) + shift).isoformat() for shift in (-hour, hour))
    question = f'title =~ "t1" AND created >= "{a}" AND created < "{b}" AND metadata.station = "Atlantis - 1"'
    assert [found.id for found in lab.find(question)] == [run.id]


def test_flag_tags_comment_and_user(lab: Catalog, run: Dataset) -> None:
    run.update({"flag": "red", "comment": "too warm"})
    found = lab.get(run.id)
    assert (found.metadata["flag"], found.metadata["comment"], found.tags) == ("red", "too warm", ("t1",))
    assert found.created_by.startswith("users/")


def test_parents(lab: Catalog, run: Dataset) -> None:
    child = lab.create("fit", parents=[run.id])
    assert lab.get(child.id).parents == (run.name,)


# ----------------------------------------------------------------------------------------------------- all of a morning


def test_a_measurement_from_the_first_shot_to_the_plot(lab: Catalog) -> None:
    shots = np.random.default_rng(1).normal(size=(50, 2)).astype("f4").view("c8")
    instrument = shots * np.exp(-np.linspace(0, 1e-4, 101) / 41e-6).astype("c8")

    run = lab.create("qubit T1", {"station": "atlantis-1", "device": {"mask": "cod", "die": "E5"}}, tags=["t1"])
    run["time"] = np.linspace(0, 1e-4, 101)
    with run.stream_array("iq", frame_shape=(101,), dtype="c8", dims=("sweep", "time")) as iq:
        for shot in instrument:
            iq.write(shot)
    run.update({"t1_us": 41.0, "mean": abs(complex(run["iq"][:].mean(0)[0]))})
    run.seal()

    best = lab.find('tags:"t1" AND metadata.t1_us > 40', order_by="-created").first()
    assert best is not None
    assert (best.created or datetime.now(UTC)) <= datetime.now(UTC)
    with best.to_xarray() as view:
        near = view["iq"].sel(time=2e-5, method="nearest")
        assert near.dims == ("sweep",)
        assert bits(near.values) == bits(instrument[:, 20])
