"""Arrays in the forms of others: xarray, Zarr, NumPy's files, tables."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray
import zarr

from measurand.client import AsyncClient, AsyncDataset
from measurand.wire.errors import InvalidArgument, NotFound

CHANCE = np.random.default_rng(33)
DTYPES: tuple[str, ...] = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
DTYPES += ("M8[D]", "M8[s]", "M8[us]", "M8[ns]", "m8[s]", "m8[us]", "m8[ns]", "U1", "U7", "S1", "S9")
SHAPES = ((), (1,), (0,), (7,), (0, 3), (5, 6), (2, 3, 4, 5))


def bits(value: Any) -> tuple[Any, ...]:
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


def example(dtype: str, shape: tuple[int, ...]) -> Any:
    """Any bits that the dtype can have; of floats that is NaN of every payload, too."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape))
    if kind.kind in "US":
        words = np.array(["", "a", "bc", "xyz", "0123456"])[CHANCE.integers(0, 5, size)]
        return words.astype(kind).reshape(shape)
    if kind.kind == "b":
        return CHANCE.integers(0, 2, size).astype(kind).reshape(shape)
    return np.frombuffer(CHANCE.bytes(size * kind.itemsize), kind).reshape(shape).copy()


async def fill(run: AsyncDataset, arrays: dict[str, Any]) -> None:
    for name, value in arrays.items():
        await run.write_array(name, value)


async def test_every_array_is_the_same_through_zarr_xarray_and_a_tree_of_files(
    run: AsyncDataset, tmp_path: Path
) -> None:
    # U0 and S0 would be no dtype that zarr knows, so each has some length.
    arrays = {f"{dtype[:2]}-{number}": example(dtype, SHAPES[number % 7]) for number, dtype in enumerate(DTYPES)}
    await fill(run, arrays)
    expected = {name: bits(value) for name, value in arrays.items()}
    with await run.zarr_store() as store:
        root: Any = zarr.open(store, mode="r")
        assert {name: bits(root[name][...]) for name in arrays} == expected
    with await run.to_xarray() as view:
        assert {name: bits(view[name].values) for name in arrays} == expected
    await run.to_zarr(tmp_path / "run.zarr")
    root = zarr.open(tmp_path / "run.zarr", mode="r")
    assert {name: bits(root[name][...]) for name in arrays} == expected
    with xarray.open_zarr(tmp_path / "run.zarr", decode_cf=False) as opened:
        assert set(opened.variables) == set(arrays)
    await run.to_npz(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz") as found:
        assert {name: bits(found[name]) for name in arrays} == expected


async def test_chunks_that_were_never_written_read_as_fill(run: AsyncDataset, tmp_path: Path) -> None:
    array = await run.create_array("a", (6, 4), "f4", chunks=(2, 4), fill=7.5)
    await array.write(np.s_[2:4], np.ones((2, 4), "f4"))
    expected = np.full((6, 4), 7.5, "f4")
    expected[2:4] = 1
    with await run.zarr_store() as store:
        root: Any = zarr.open(store, mode="r")
        assert bits(root["a"][...]) == bits(expected)
    await run.to_zarr(tmp_path / "run.zarr")
    assert sorted(path.name for path in (tmp_path / "run.zarr/a/c").iterdir()) == ["1"]


async def test_parts_of_a_shard_are_read(run: AsyncDataset) -> None:
    value = CHANCE.integers(0, 1000, (16, 32)).astype("u2")
    await run.write_array("a", value, chunks=(2, 8), shards=(8, 16))
    with await run.zarr_store() as store:
        root: Any = zarr.open(store, mode="r")
        assert bits(root["a"][3:5, 9:11]) == bits(value[3:5, 9:11])
        assert bits(root["a"][...]) == bits(value)


async def test_the_store_shows_growth_when_it_is_opened_anew_and_can_be_pickled(run: AsyncDataset) -> None:
    array = await run.create_array("a", (0, 3), "i4", chunks=(2, 3))
    with await run.zarr_store() as store:
        assert zarr.open_array(store, path="a", mode="r").shape == (0, 3)
        await array.append(np.arange(9, dtype="i4").reshape(3, 3))
        with pickle.loads(pickle.dumps(store)) as other:
            assert other == store
            for one in (store, other):
                root: Any = zarr.open(one, mode="r")
                assert bits(root["a"][...]) == bits(np.arange(9, dtype="i4").reshape(3, 3))


async def test_the_store_writes_nothing(run: AsyncDataset) -> None:
    await fill(run, {"a": np.arange(3)})
    with await run.zarr_store() as store:
        root: Any = zarr.open(store, mode="r")
        with pytest.raises(ValueError, match="read-only"):
            root["a"][0] = 1
        with pytest.raises(ValueError, match=r"[Rr]ead-only"):
            zarr.open_group(store, mode="w")


async def test_axes_coordinates_and_units_reach_xarray(run: AsyncDataset) -> None:
    time = np.linspace(0, 1e-4, 101)
    iq = CHANCE.normal(size=(20, 101)).astype("f4")
    await run.write_array("time", time, attrs={"units": "s"})  # it names no axis, and is one all the same
    await run.write_array("iq", iq, dims=("sweep", "time"), attrs={"units": "V"})
    await run.write_array("other", iq[:5], dims=("sweep", "time"))
    with await run.to_xarray() as view:
        assert view["iq"].dims == ("sweep", "time")
        assert view["other"].dims == ("other_0", "time")  # it has another length
        assert (view["iq"].attrs, view["time"].attrs) == ({"units": "V"}, {"units": "s"})
        assert bits(view["iq"].sel(time=2e-5, method="nearest").values) == bits(iq[:, 20])
        assert bits(view["iq"][::-1, [3, 1]].values) == bits(iq[::-1, [3, 1]])
        chunked = view.chunk({"time": 50})
        assert bits(chunked["iq"].data.compute()) == bits(iq)


async def test_xarray_reads_nothing_until_it_is_asked(run: AsyncDataset) -> None:
    await run.create_array("a", (1 << 20, 1 << 20), "f8", dims=("y", "x"), fill=1.5)  # 8 TiB
    with await run.to_xarray() as view:
        assert view["a"].shape == (1 << 20, 1 << 20)
        assert view["a"][5, 7:9].values.tolist() == [1.5, 1.5]


async def test_a_group_is_viewed_by_itself(run: AsyncDataset) -> None:
    await fill(run, {"entry/a": np.arange(3), "entry/deep/b": np.arange(4), "c": np.arange(5)})
    with await run.to_xarray("entry") as view:
        assert set(view.variables) == {"a", "deep/b"}


async def test_a_table_comes_back_bit_for_bit(run: AsyncDataset, tmp_path: Path) -> None:
    rows = 20_000
    number = CHANCE.integers(0, 1 << 63, rows).view("f8")
    columns: dict[str, Any] = {
        "count": CHANCE.integers(-(1 << 63), (1 << 63) - 1, rows),
        "value": np.where(np.isnan(number), -0.0, number),
        "ok": CHANCE.random(rows) < 0.5,
        "when": CHANCE.integers(0, 1 << 60, rows).astype("M8[ns]"),
        "note": np.array(["é", "a,b", "x\ny", 'q"', "", "z \r"])[CHANCE.integers(0, 6, rows)],
    }
    await fill(run, columns)
    assert await run.to_csv(tmp_path / "table.csv", list(columns)) == tmp_path / "table.csv"
    await fill(run, dict.fromkeys(columns, np.zeros(1)))
    stored = await run.import_csv(tmp_path / "table.csv")
    assert [array.name for array in stored] == list(columns)
    assert {name: bits(await array.read()) for name, array in zip(columns, stored, strict=True)} == {
        name: bits(value) for name, value in columns.items()
    }


async def test_a_table_has_a_column_for_each_element_and_tells_units(run: AsyncDataset, tmp_path: Path) -> None:
    await run.write_array("iq", np.array([[1.5, 2], [3, np.nan]]), attrs={"units": "V"})
    await run.write_array("f (GHz)", np.array([5, 6]), attrs={"units": "GHz"})
    await run.write_array("wait", np.array([1, "NaT"], "m8[us]"))
    await run.to_csv(tmp_path / "table.csv", ["f (GHz)", "iq", "wait"])
    assert (tmp_path / "table.csv").read_text() == "f (GHz),iq[0] (V),iq[1] (V),wait (us)\n5,1.5,2.0,1\n6,3.0,nan,\n"


async def test_columns_of_other_lengths_are_named(run: AsyncDataset, tmp_path: Path) -> None:
    await fill(run, {"a": np.arange(3), "b": np.arange(4), "cube": np.zeros((2, 2, 2))})
    with pytest.raises(InvalidArgument, match=r"a has 3 rows and b has 4"):
        await run.to_csv(tmp_path / "table.csv", ["a", "b"])
    with pytest.raises(InvalidArgument, match="cube has 3 axes"):
        await run.to_csv(tmp_path / "table.csv", ["cube"])
    with pytest.raises(NotFound):
        await run.to_csv(tmp_path / "table.csv", ["nothing"])
    assert not list(tmp_path.glob("*.csv"))  # noqa: ASYNC240  # a folder of its own


async def test_a_table_of_others_is_taken_as_what_its_cells_are(run: AsyncDataset, tmp_path: Path) -> None:
    lines = ["n,T (K),,when,flag,big", "1,0.5,x,2024-01-01T02:00+02:00,True,18446744073709551615"]
    lines += ["2,,y,2024-01-02,False,0", "", "-3,nan,,,True,1"]
    (tmp_path / "table.csv").write_text("\ufeff" + "\n".join(lines), "utf-8")
    stored = {array.name: await array.read() for array in await run.import_csv(tmp_path / "table.csv")}
    assert {name: str(value.dtype) for name, value in stored.items()} == {
        "n": "int64",
        "T (K)": "float64",
        "column 3": "<U1",
        "when": "datetime64[m]",
        "flag": "bool",
        "big": "uint64",
    }
    assert stored["T (K)"].tolist()[:1] == [0.5]
    assert np.isnan(stored["T (K)"][1:]).all()
    assert stored["column 3"].tolist() == ["x", "y", ""]
    assert stored["when"].astype(str).tolist() == ["2024-01-01T00:00", "2024-01-02T00:00", "NaT"]
    assert (await run.array("T (K)")).attrs == {"units": "K"}


@pytest.mark.parametrize("text", ["", "a,a\n1,2\n", "a,b\n1\n", "a\n\xff\n"])
async def test_a_damaged_table_is_refused_whole(run: AsyncDataset, tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidArgument, match=r"table\.csv"):
        await run.import_csv(tmp_path / "table.csv")
    assert await run.arrays() == []


async def test_of_a_table_with_a_header_that_is_no_name_nothing_is_kept(run: AsyncDataset, tmp_path: Path) -> None:
    await run.write_array("kept", np.arange(3))
    (tmp_path / "table.csv").write_text("good,__bad\n1,2\n")
    with pytest.raises(InvalidArgument, match="__bad"):
        await run.import_csv(tmp_path / "table.csv")
    assert [array.name for array in await run.arrays()] == ["kept"]


async def test_it_is_told_how_far_it_is(run: AsyncDataset, tmp_path: Path) -> None:
    value = CHANCE.integers(0, 1000, (64, 32)).astype("u2")
    np.save(tmp_path / "a.npy", value)
    told: list[tuple[int, int | None]] = []

    def tell(done: int, total: int | None) -> None:
        told.append((done, total))

    await run.import_file(tmp_path / "a.npy", progress=tell)
    assert told[-1][0] >= value.nbytes and told[-1][1] == value.nbytes
    told.clear()
    await run.to_npz(tmp_path / "a.npz", progress=tell)
    assert told[-1] == (value.nbytes, value.nbytes)
    told.clear()
    await run.to_zarr(tmp_path / "a.zarr", progress=tell)
    assert told[-1][0] > 0


async def test_a_file_of_arrays_is_taken_with_what_it_says(run: AsyncDataset, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["operator"] = "me"
        file["entry/iq"] = np.arange(5, dtype=">c16")
        file["entry/iq"].attrs["units"] = "V"
        file["names"] = ["a", "größe"]
        file["alias"] = h5py.SoftLink("/entry/iq")
        file["same"] = file["names"]
        file["circle"] = file["/"]
    stored = {array.name: array for array in await run.import_file(tmp_path / "a.h5")}
    assert set(stored) == {"entry/iq", "names"}
    assert bits(await stored["entry/iq"].read()) == bits(np.arange(5, dtype="c16"))
    assert stored["entry/iq"].attrs == {"units": "V"}
    assert (await stored["names"].read()).tolist() == ["a", "größe"]
    assert run.metadata == {"operator": "me"}


async def test_what_was_written_out_as_zarr_comes_back_the_same(
    run: AsyncDataset, client: AsyncClient, tmp_path: Path
) -> None:
    await run.replace_metadata({"gain": float("nan"), "note": "cold"})
    value = example("f8", (7, 3))
    await run.write_array("entry/a", value, dims=("y", "x"), attrs={"units": "V"})
    await run.to_zarr(tmp_path / "run.zarr")
    other = await (await client.catalog(run.catalog)).create("other")
    (stored,) = await other.import_file(tmp_path / "run.zarr")
    assert (stored.name, stored.dims, stored.attrs) == ("entry/a", ("y", "x"), {"units": "V"})
    assert bits(await stored.read()) == bits(value)
    assert repr(other.metadata) == repr(run.metadata)


async def test_arrays_of_others_are_stored_piece_by_piece(run: AsyncDataset, tmp_path: Path) -> None:
    value = CHANCE.integers(0, 1000, (64, 32)).astype("u2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=value, chunks=(5, 32))
        await run.write_array("hdf5", file["a"])
    await run.write_array("zarr", zarr.create_array(tmp_path / "a.zarr", data=value, chunks=(7, 9)))
    for name in ("hdf5", "zarr"):
        assert bits(await (await run.array(name)).read()) == bits(value)
