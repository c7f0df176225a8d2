"""What users were promised about arrays by name, and in the forms of others, over every set of stores."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray
import zarr

from measurand.client import Catalog, errors


def bits(value: Any) -> tuple[Any, ...]:
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


# -------------------------------------------------------------------------------------------------- by name (ME-14)


def test_a_partial_load_goes_by_name_and_reads_what_it_names(lab: Catalog) -> None:
    run = lab.create("two arrays, the second first by name")
    z, a = np.arange(10, dtype="f8"), np.arange(20, dtype="f8") * 10
    run["z"], run["a"] = z, a
    run.create_array("m", (1 << 20, 1 << 20), "f8")  # 8 TiB: whoever reads it by mistake does not come back
    loaded = run.load({"z": np.s_[0:2], "a": np.s_[5:9]})
    assert {name: bits(part) for name, part in loaded.items()} == {"z": bits(z[0:2]), "a": bits(a[5:9])}
    assert {name: bits(part) for name, part in run.load(["a"]).items()} == {"a": bits(a)}
    with pytest.raises(errors.NotFound, match="arrays/q"):
        run.load({"z": ..., "q": ...})


# ------------------------------------------------------------------------------------------------------ CSV (ME-31)


def test_a_table_goes_out_and_comes_in_bit_for_bit(lab: Catalog, tmp_path: Path) -> None:
    rows, chance = 100_000, np.random.default_rng(31)
    columns: dict[str, Any] = {
        "count": chance.integers(-(1 << 63), (1 << 63) - 1, rows),
        "value (V)": chance.normal(size=rows) * 10.0 ** chance.integers(-300, 300, rows),
        "ok": chance.random(rows) < 0.5,
        "when": chance.integers(0, 1 << 50, rows).astype("M8[us]"),
        "note": np.array(["é", "a,b", "x\ny", 'q"', ""])[chance.integers(0, 5, rows)],
    }
    run, again = lab.create("out"), lab.create("in")
    for name, value in columns.items():
        run[name] = value
    run.to_csv(tmp_path / "table.csv")
    again.import_csv(tmp_path / "table.csv")
    assert {array.name: bits(array) for array in again.arrays()} == {
        name: bits(value) for name, value in columns.items()
    }


# -------------------------------------------------------------------------------------------- xarray and Zarr (ME-33)


def test_xarray_dask_and_zarr_read_the_same_bits(lab: Catalog, tmp_path: Path) -> None:
    run = lab.create("sweep", {"fridge": "BF4"})
    f, t = np.array([5.0e9, 5.1e9, 5.2e9]), np.linspace(0, 1e-4, 64)
    iq = np.frombuffer(np.random.default_rng(33).bytes(3 * 64 * 8), "c8").reshape(3, 64)  # NaN of any payload, too
    run["f"], run["t"] = f, t
    run.write_array("iq", iq, chunks=(1, 64), dims=("f", "t"), attrs={"units": "V"})
    with run.to_xarray() as view:
        assert bits(view["iq"].values) == bits(iq)
        assert (view["iq"].dims, view["iq"].attrs, view.attrs) == (("f", "t"), {"units": "V"}, {"fridge": "BF4"})
        assert bits(view["iq"].sel(f=5.11e9, method="nearest").values) == bits(iq[1])
        assert bits(view.chunk({"f": 1})["iq"].data.compute()) == bits(iq)
        assert bits(pickle.loads(pickle.dumps(view))["iq"].values) == bits(iq)
    lazy = dask.array.from_array(run["iq"], chunks=(1, 64))  # type: ignore[no-untyped-call]
    assert bits(lazy.compute()) == bits(iq)
    with run.zarr_store() as store:
        group: Any = zarr.open(store, mode="r")
        assert {name: bits(group[name][...]) for name in ("f", "t", "iq")} == {
            "f": bits(f),
            "t": bits(t),
            "iq": bits(iq),
        }
        with xarray.open_zarr(store) as opened:
            assert opened["iq"].chunks == ((1, 1, 1), (64,))
            assert bits(opened["iq"].values) == bits(iq)
    run.to_zarr(tmp_path / "run.zarr")
    with xarray.open_zarr(tmp_path / "run.zarr") as opened:
        assert bits(opened.sel(f=5.11e9, method="nearest")["iq"].values) == bits(iq[1])
