"""Zarr v3 codec chains as JSON: which are understood, and those that we write. Standard library only.

A chain is `bytes` (or `vlen-utf8` for text of any length), then at most one of blosc, zstd and gzip, then at most one
crc32c; or `sharding_indexed` around such a chain. All of them are read by zarr-python.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from measurand.chunks import data_types
from measurand.wire.errors import InvalidArgument

__all__ = ["Chain", "Codec", "Compressor", "check", "default", "named", "parse", "sharded"]

Compressor = Literal["none", "blosc", "lz4", "zstd", "gzip"]
"""How users name what they want: `lz4` (or `blosc`) and `zstd` are Blosc's, with bit shuffle."""

MAX_TEXT = 65536
COMPRESSORS = ("blosc", "zstd", "gzip")
BLOSC: dict[str, range | tuple[str, ...]] = {
    "cname": ("lz4", "lz4hc", "blosclz", "zlib", "zstd"),  # snappy is not built into numcodecs
    "shuffle": ("noshuffle", "shuffle", "bitshuffle"),
    "clevel": range(10),
    "blocksize": range(2**31),
    "typesize": range(1, 2**31),
}
CRC32C = {"name": "crc32c"}


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec and its configuration."""

    name: str
    configuration: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chain:
    """A codec chain.

    Parameters
    ----------
    serializer : str
        `bytes`, `vlen-utf8` or `sharding_indexed`.
    compressor : Codec, optional
        One of blosc, zstd and gzip.
    checked : bool
        A crc32c follows; of shards, of the index.
    inner_shape : tuple of int
        Of shards: the shape of the chunks within.
    inner : Chain, optional
        Of shards: how each chunk within is encoded.
    """

    serializer: str
    compressor: Codec | None = None
    checked: bool = False
    inner_shape: tuple[int, ...] = ()
    inner: Chain | None = None


@lru_cache(maxsize=256)
def parse(codecs: str) -> Chain:
    """Return the chain of its JSON text.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: not a chain that is understood here.
    """
    if len(codecs) > MAX_TEXT:
        raise _invalid(f"the text has more than {MAX_TEXT} characters")
    try:
        form = json.loads(codecs)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"not JSON: {error}") from error
    return _chain(form, within=False)


def check(chain: Chain, data_type: data_types.DataType, chunk_shape: tuple[int, ...]) -> None:
    """Refuse a chain that cannot hold chunks of this type and shape.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID.
    """
    if chain.inner is not None:
        inner = chain.inner_shape
        if data_type.kind == "V":
            raise _invalid(f"zarr-python cannot read shards of {data_type.name}; take a chain without sharding_indexed")
        if len(inner) != len(chunk_shape) or any(n % m for n, m in zip(chunk_shape, inner, strict=True)):
            raise _invalid(f"the chunks within a shard are {list(inner)}, which does not divide {list(chunk_shape)}")
        check(chain.inner, data_type, inner)
        return
    wanted = _serializer(data_type)
    if chain.serializer != wanted:
        raise _invalid(f"{data_type.name} is stored by {wanted} and not by {chain.serializer}")


def default(data_type: data_types.DataType) -> str:
    """Return the chain for data that nobody has seen yet: Blosc with bit shuffle and LZ4, then crc32c.

    LZ4 takes in more than 1 GB/s a core, where Zstandard at level 1 takes half; incompressible data costs little.
    """
    return named("lz4", data_type)


def named(compressor: Compressor, data_type: data_types.DataType) -> str:
    """Return the chain with the compressor of this name, crc32c last.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: no such name.
    """
    chain = [_TEXT if data_type.kind == "T" else _LITTLE]
    match compressor:
        case "lz4" | "blosc":
            chain.append(_blosc("lz4", 5, data_type))
        case "zstd":
            chain.append(_blosc("zstd", 1, data_type))
        case "gzip":
            chain.append({"name": "gzip", "configuration": {"level": 5}})
        case "none":
            pass
        case _:
            raise _invalid(f"{compressor!r} is no compressor: take none, blosc, lz4, zstd or gzip")
    return json.dumps([*chain, CRC32C])


def sharded(inner_chunk_shape: Sequence[int], codecs: str) -> str:
    """Return the chain that keeps many small chunks in one: each encoded by itself, with an index at the end.

    Parameters
    ----------
    inner_chunk_shape : sequence of int
        Shape of the chunks within; must divide the chunk shape of the array.
    codecs : str
        How each of them is encoded.
    """
    parse(codecs)
    configuration = {
        "chunk_shape": list(inner_chunk_shape),
        "codecs": json.loads(codecs),
        "index_codecs": [_LITTLE, CRC32C],
        "index_location": "end",
    }
    return json.dumps([{"name": "sharding_indexed", "configuration": configuration}])


_LITTLE: dict[str, object] = {"name": "bytes", "configuration": {"endian": "little"}}
_TEXT: dict[str, object] = {"name": "vlen-utf8", "configuration": {}}


def _blosc(compressor: str, level: int, data_type: data_types.DataType) -> dict[str, object]:
    # What belongs together when bits are shuffled: of text one character. Blosc shuffles nothing wider than 255 bytes.
    size = {"U": 4, "S": 1, "T": 1}.get(data_type.kind, data_type.item_bytes)
    configuration = {
        "typesize": size if size < 256 else 1,
        "cname": compressor,
        "clevel": level,
        "shuffle": "bitshuffle",
        "blocksize": 0,
    }
    return {"name": "blosc", "configuration": configuration}


def _serializer(data_type: data_types.DataType) -> str:
    return "vlen-utf8" if data_type.kind == "T" else "bytes"


def _chain(form: object, *, within: bool) -> Chain:
    if not isinstance(form, list) or not form:
        raise _invalid("a list of codecs is wanted")
    first, *rest = [_codec(item) for item in form]
    match first.name:
        case "sharding_indexed" if not within and not rest:
            return _shards(first)
        case "sharding_indexed":
            raise _invalid("sharding_indexed stands alone, and not within itself")
        case "bytes" if first.configuration.get("endian", "little") == "little":
            pass
        case "vlen-utf8":
            pass
        case "bytes":
            raise _invalid("bytes are stored little-endian only")
        case name:
            raise _invalid(f"the first codec is {name}: bytes, vlen-utf8 and sharding_indexed are known")
    compressor = rest.pop(0) if rest and rest[0].name in COMPRESSORS else None
    if compressor is not None:
        _check_compressor(compressor)
    names = [codec.name for codec in rest]
    if names not in ([], ["crc32c"]):
        raise _invalid(f"after {first.name} come at most one of {', '.join(COMPRESSORS)} and then at most a crc32c")
    return Chain(first.name, compressor, bool(names))


def _shards(codec: Codec) -> Chain:
    configuration = {"index_location": "end", **codec.configuration}
    shape, index = configuration.get("chunk_shape"), configuration.get("index_codecs")
    if not isinstance(shape, list) or not all(_is_within(length, range(1, 2**63)) for length in shape):
        raise _invalid("sharding_indexed needs a chunk_shape of lengths from 1")
    index_chain = _chain(index, within=True)
    if configuration["index_location"] != "end" or index_chain.serializer != "bytes" or index_chain.compressor:
        raise _invalid("the index of a shard is bytes and crc32c, and stands at its end")
    inner = _chain(configuration.get("codecs"), within=True)
    return Chain("sharding_indexed", None, index_chain.checked, tuple(shape), inner)


def _codec(form: object) -> Codec:
    if isinstance(form, str):
        return Codec(form)
    if isinstance(form, dict) and form.keys() <= {"name", "configuration"} and isinstance(form.get("name"), str):
        configuration = form.get("configuration", {})
        if isinstance(configuration, dict):
            return Codec(form["name"], configuration)
    raise _invalid("a codec is an object with a name and a configuration")


def _check_compressor(codec: Codec) -> None:
    configuration = codec.configuration
    match codec.name:
        case "blosc":
            good = configuration.keys() == BLOSC.keys() and all(
                _is_within(configuration[key], allowed) for key, allowed in BLOSC.items()
            )
        case "zstd":
            good = (
                {"level"} <= configuration.keys() <= {"level", "checksum"}
                and _is_within(configuration["level"], range(-131072, 23))
                and isinstance(configuration.get("checksum", False), bool)
            )
        case _:
            good = configuration.keys() == {"level"} and _is_within(configuration["level"], range(10))
    if not good:
        raise _invalid(f"{codec.name} does not take the configuration {json.dumps(configuration)[:200]}")


def _is_within(value: object, allowed: range | tuple[str, ...]) -> bool:
    return not isinstance(value, bool | float) and value in allowed


def _invalid(problem: str) -> InvalidArgument:
    return InvalidArgument(
        f"codecs: {problem}; for example [bytes, blosc, crc32c], see the Zarr v3 specification", field="codecs"
    )
