"""Zarr v3 data types as text: which there are, what one element takes. Standard library only.

The names and configurations are those that zarr-python 3.1 reads and writes. Raw bytes are `r24` to us, as in the core
specification, and `raw_bytes` in a `zarr.json`, which is what zarr-python understands; both are read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

from measurand.wire.errors import InvalidArgument

__all__ = ["UNITS", "DataType", "item_bytes", "of_json", "parse"]

UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic")
"""numpy's units of time."""

PLAIN = {
    "bool": ("b", 1),
    **{f"int{bits}": ("i", bits // 8) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": ("u", bits // 8) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": ("f", bits // 8) for bits in (16, 32, 64)},
    **{f"complex{bits}": ("c", bits // 8) for bits in (64, 128)},
    "string": ("T", 16),
}
TIMES = {"numpy.datetime64": "M", "numpy.timedelta64": "m"}
LENGTHS = {"fixed_length_utf32": "U", "null_terminated_bytes": "S", "raw_bytes": "V"}
MAX_ITEM_BYTES = 2**31 - 1  # numpy's
MAX_DEPTH = 16
MAX_TEXT = 65536


@dataclass(frozen=True, slots=True)
class DataType:
    """One data type.

    Parameters
    ----------
    name : str
        Zarr's name, `structured` and `raw_bytes` included.
    kind : str
        numpy's letter: b, i, u, f, c, M, m, U, S, V, and T for text of any length.
    item_bytes : int
        Bytes of one element; for text of any length those that numpy keeps for each, beside the text itself.
    unit, scale : str, int
        Of times: so many units are one step.
    fields : tuple of (str, DataType)
        Of structured types, in order and without gaps.
    """

    name: str
    kind: str
    item_bytes: int
    unit: str = ""
    scale: int = 1
    fields: tuple[tuple[str, DataType], ...] = ()

    @property
    def text(self) -> str:
        """As it stands in `Array.data_type`."""
        if self.name == "raw_bytes":
            return f"r{8 * self.item_bytes}"
        form = self.json
        return form if isinstance(form, str) else json.dumps(form, ensure_ascii=False)

    @property
    def json(self) -> str | dict[str, object]:
        """As it stands in a `zarr.json`."""
        configuration: dict[str, object]
        if self.fields:
            configuration = {"fields": [[name, field.json] for name, field in self.fields]}
        elif self.unit:
            configuration = {"unit": self.unit, "scale_factor": self.scale}
        elif self.name in LENGTHS:
            configuration = {"length_bytes": self.item_bytes}
        else:
            return self.name
        return {"name": self.name, "configuration": configuration}


@lru_cache(maxsize=256)
def parse(text: str) -> DataType:
    """Return the data type of a text such as `float32`, or JSON where the type has a configuration.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: no data type that can be stored.
    """
    if not text.startswith(("{", '"')):
        return of_json(text)
    if len(text) > MAX_TEXT:
        raise _unknown(f"the text has more than {MAX_TEXT} characters")
    try:
        return of_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise _unknown(f"not JSON: {error}") from error


def item_bytes(data_type: str) -> int:
    """Return the bytes of one element; see `DataType.item_bytes`."""
    return parse(data_type).item_bytes


def of_json(form: object, depth: int = 0) -> DataType:
    """Return the data type of its form in a `zarr.json`.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: no data type that can be stored.
    """
    if depth > MAX_DEPTH:
        raise _unknown(f"structured types are nested more than {MAX_DEPTH} levels deep")
    name, configuration = _parts(form)
    raw = re.fullmatch(r"r([1-9][0-9]{0,10})", name)
    if name in PLAIN and not configuration:
        return DataType(name, *PLAIN[name])
    if raw and not configuration and int(raw[1]) % 8 == 0:
        name, configuration = "raw_bytes", {"length_bytes": int(raw[1]) // 8}
    if name in LENGTHS:
        return _of_length(name, configuration)
    if name in TIMES:
        return _of_time(name, configuration)
    if name == "structured":
        return _structured(configuration, depth)
    raise _unknown(f"{json.dumps(form)[:200]} is not known")


def _parts(form: object) -> tuple[str, dict[str, object]]:
    if isinstance(form, str):
        return form, {}
    if isinstance(form, dict) and isinstance(form.get("name"), str) and form.keys() <= {"name", "configuration"}:
        configuration = form.get("configuration", {})
        if isinstance(configuration, dict):
            return form["name"], configuration
    raise _unknown("it is neither a name nor an object with a name and a configuration")


def _of_length(name: str, configuration: dict[str, object]) -> DataType:
    length = configuration.get("length_bytes")
    unit = 4 if name == "fixed_length_utf32" else 1
    if configuration.keys() != {"length_bytes"} or not _is_number(length, MAX_ITEM_BYTES) or length % unit:
        raise _unknown(f"{name} needs a configuration with length_bytes, at least {unit}, in steps of {unit}")
    return DataType(name, LENGTHS[name], length)


def _of_time(name: str, configuration: dict[str, object]) -> DataType:
    unit, scale = configuration.get("unit"), configuration.get("scale_factor")
    unit = "us" if unit == "\N{GREEK SMALL LETTER MU}s" else unit
    known = configuration.keys() == {"unit", "scale_factor"} and (unit != "generic" or scale == 1)
    if not known or not isinstance(unit, str) or unit not in UNITS or not _is_number(scale, 2**31 - 1):
        raise _unknown(f"{name} needs a configuration with a unit of {', '.join(UNITS)} and a scale_factor from 1")
    return DataType(name, TIMES[name], 8, unit, scale)


def _structured(configuration: dict[str, object], depth: int) -> DataType:
    pairs = configuration.get("fields")
    if configuration.keys() != {"fields"} or not isinstance(pairs, list) or not pairs:
        raise _unknown("structured needs a configuration with fields")
    fields: dict[str, DataType] = {}
    for pair in pairs:
        match pair:
            case [str(name), form] if name and name not in fields:
                fields[name] = of_json(form, depth + 1)
            case _:
                raise _unknown("each field of a structured type is a pair of a name of its own and a data type")
        if fields[name].kind == "T":
            raise _unknown(f"the field {name!r} is text of any length, which a structured type cannot hold")
    size = sum(field.item_bytes for field in fields.values())
    if size > MAX_ITEM_BYTES:
        raise _unknown(f"one element has more than {MAX_ITEM_BYTES} bytes")
    return DataType("structured", "V", size, fields=tuple(fields.items()))


def _is_number(value: object, highest: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= highest


def _unknown(problem: str) -> InvalidArgument:
    return InvalidArgument(
        f"data_type: {problem}; known are {', '.join(PLAIN)}, r8, r16, … for raw bytes, and as JSON with a "
        f"configuration {', '.join((*TIMES, *LENGTHS))} and structured",
        field="data_type",
    )
