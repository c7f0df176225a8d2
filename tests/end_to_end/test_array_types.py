"""Every type, shape and layout comes back bit for bit (ME-1 to ME-3), by way of every set of stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.end_to_end.growing import Growth
from tests.servers import Server
from tests.stores import Site

from measurand.client import Catalog, Client, errors

MiB = 1 << 20

NUMBERS = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
TIMES = (*(f"M8[{unit}]" for unit in ("D", "s", "us", "ns")), *(f"m8[{unit}]" for unit in ("s", "us", "ns")))
DTYPES = (*NUMBERS, *TIMES, "U1", "U7", "S1", "S9")
SHAPES = ((), (1,), (0,), (7,), (0, 3), (5, 6), (3, 4, 5), (2, 3, 4, 5))


def bits(value: Any) -> tuple[Any, ...]:
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


def anything(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int = 1) -> np.ndarray[Any, Any]:
    """Return an array of bits that mean something in the dtype: NaN payloads and NaT among them."""
    chance = np.random.default_rng(seed)
    if dtype.kind == "U":
        points = chance.integers(1, 0xD800, (*shape, dtype.itemsize // 4), "u4")
        return np.ascontiguousarray(points).view(dtype).reshape(shape)
    raw = chance.integers(0, 2 if dtype.kind == "b" else 256, (*shape, dtype.itemsize), "u1")
    return np.ascontiguousarray(raw).view(dtype).reshape(shape)


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_and_shape_comes_back_bit_for_bit(lab: Catalog, name: str) -> None:
    run, dtype = lab.create(name), np.dtype(name)
    for number, shape in enumerate(SHAPES):
        run[f"a{number}"] = anything(dtype, shape)
    loaded = run.load()
    for number, shape in enumerate(SHAPES):
        assert bits(loaded[f"a{number}"]) == bits(anything(dtype, shape)), shape
    assert bits(np.asarray(run["a6"])) == bits(anything(dtype, SHAPES[6]))


@pytest.mark.stores("memory")
def test_all_other_units_of_time_big_ends_structures_and_raw_bytes(lab: Catalog) -> None:
    run = lab.create("others")
    names = [f"{kind}8[{unit}]" for kind in "Mm" for unit in ("Y", "M", "W", "h", "m", "ms", "ps", "fs", "as", "25us")]
    names += ["V5", "i4,f8", "u1,M8[s],S3", "f4,c8,u2"]
    for name in names:
        values = anything(np.dtype(name), (6, 5))
        run["a"] = values
        assert bits(run["a"][...]) == bits(values), name
        assert bits(run["a"][::-2, 3]) == bits(np.ascontiguousarray(values[::-2, 3])), name
    for name in (">i4", ">f2", ">c16", ">U3", ">M8[ns]"):
        native = anything(np.dtype(name).newbyteorder("="), (6, 5))
        run["a"] = native.astype(name) if "f" not in name and "c" not in name else native.byteswap().view(name)
        assert bits(run["a"][...]) == bits(native), name
    words = [["", "a"], ["é" * 100, "😀"]]
    for text in (words, np.array(words, np.dtypes.StringDType()), np.array(words, object)):
        run["a"] = text
        assert run["a"].shape == (2, 2) and run["a"][...].tolist() == words
    for refused in (np.array([object()]), np.ones(2, np.longdouble), np.ones(2, np.clongdouble), np.zeros(2, "i4,O")):
        with pytest.raises(errors.InvalidArgument) as raised:
            run["b"] = refused
        assert raised.value.reason == "FIELD_INVALID"
    assert [array.name for array in run.arrays()] == ["a"]


ODD = [
    ("f8", 0x7FF0000000000001),
    ("f8", 0x7FF8DEAD00000001),
    ("f8", 0xFFF8000000000002),
    ("f8", 1 << 63),
    ("f4", 0x7F800001),
    ("f4", 0xFFC12345),
    ("f2", 0x7C01),
    ("f2", 0xFE01),
    ("M8[ns]", 1 << 63),
]


@pytest.mark.parametrize(("name", "pattern"), ODD)
def test_nan_payloads_and_signed_zeros_survive_also_where_they_fill_chunks(
    lab: Catalog, name: str, pattern: int
) -> None:
    run, dtype = lab.create("odd"), np.dtype(name)
    one = np.array(pattern, f"u{dtype.itemsize}").view(dtype)
    run["one"], run["many"] = one, np.full((512, 512), one)
    assert bits(run["one"][()]) == bits(one) and bits(run["many"][...]) == bits(np.full((512, 512), one))
    filled = run.create_array("filled", (5, 4), dtype, chunks=(2, 4), fill=one)
    filled[2:4] = one
    assert bits(filled[...]) == bits(np.full((5, 4), one)) and bits(filled.fill_value) == bits(one)


def test_a_complex_number_keeps_the_payload_of_its_imaginary_part(lab: Catalog) -> None:
    run = lab.create("odd")
    one = np.array([0x3FF0000000000000, 0x7FF8DEAD00000001], "u8").view("c16")
    run["a"] = np.repeat(one, 512 * 512).reshape(512, 512)
    assert bits(run["a"][...]) == bits(np.repeat(one, 512 * 512).reshape(512, 512))


def test_any_layout_in_memory_is_taken_and_not_changed(lab: Catalog) -> None:
    run = lab.create("layouts")
    values = anything(np.dtype("f8"), (40, 50, 7))
    layouts = [np.asfortranarray(values), values.transpose(2, 0, 1), values[::-2, 3:, ::3]]
    layouts += [np.broadcast_to(values[0], (9, 50, 7)), values[..., None]]
    for layout in layouts:
        layout.flags.writeable = False
        expected = bits(np.ascontiguousarray(layout))
        run["a"] = layout
        assert bits(run["a"][...]) == expected and bits(layout) == expected


@pytest.mark.stores("embedded")
def test_an_array_goes_in_and_out_in_little_memory(site: Site, tmp_path: Path) -> None:
    shape = (64, 1024, 1024)  # 256 MiB
    source = np.memmap(tmp_path / "in", "f4", "w+", shape=shape)
    chance = np.random.default_rng(3)
    for plane in source:
        plane[...] = chance.standard_normal(shape[1:], "f4")
    source.flush()
    target = np.memmap(tmp_path / "out", "f4", "w+", shape=shape)
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("large")
        run["warm"] = source[:4]
        assert run["warm"][...].shape == (4, 1024, 1024)
        with Growth(os.getpid(), server.process.pid) as growth:
            run["a"] = np.memmap(tmp_path / "in", "f4", "r", shape=shape)
            run["a"].read(out=target)
        for number in range(0, 64, 9):
            assert target[number].tobytes() == source[number].tobytes()
    assert max(growth.most) < 150 * MiB, growth.most


def test_the_server_of_these_tests_is_well(shared: Server) -> None:
    assert shared.process.poll() is None and "Traceback" not in shared.log
