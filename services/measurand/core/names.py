"""Resource names: taken apart, put together, and refused when malformed. Nothing else turns names into parts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from measurand.wire.errors import NameInvalid
from measurand.wire.paths import check_path
from measurand.wire.paths import shown as _shown

__all__ = [
    "ANY",
    "ArrayName",
    "BufferName",
    "CatalogName",
    "DatasetName",
    "FileName",
    "GroupName",
    "check_array_path",
    "check_id",
    "check_path",
    "parse_array",
    "parse_buffer",
    "parse_catalog",
    "parse_dataset",
    "parse_file",
    "parse_group",
    "parse_operation",
    "parse_revision",
    "parse_upload",
]

ANY = "-"
"""As the id in a parent: all of them."""

MAX_ARRAY_BYTES = 512
MAX_ARRAY_SEGMENTS = 16

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_CATALOG = re.compile(r"catalogs/([^/]*)")
_DATASET = re.compile(r"catalogs/([^/]*)/datasets/([^/]*)")
_FILE = re.compile(r"catalogs/([^/]*)/datasets/([^/]*)/files/(.*)", re.DOTALL)
_ARRAY = re.compile(r"catalogs/([^/]*)/datasets/([^/]*)/arrays/(.*)", re.DOTALL)
_BUFFER = re.compile(r"catalogs/([^/]*)/buffers/([^/]*)")
_GROUP = re.compile(r"catalogs/([^/]*)/buffers/([^/]*)/groups/([^/]*)")
_GROUP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REVISION = re.compile(r"(catalogs/[^/]*/datasets/[^/]*)/revisions/([1-9][0-9]{0,17})")
_UPLOAD = re.compile(r"uploads/([^/]*)")
_OPERATION = re.compile(r"operations/([^/]*)")


@dataclass(frozen=True, slots=True)
class CatalogName:
    """`catalogs/{catalog}`."""

    catalog: str

    def __str__(self) -> str:
        return f"catalogs/{self.catalog}"


@dataclass(frozen=True, slots=True)
class DatasetName:
    """`catalogs/{catalog}/datasets/{dataset}`."""

    catalog: str
    dataset: str

    @property
    def parent(self) -> CatalogName:
        """The catalog it lies in."""
        return CatalogName(self.catalog)

    def __str__(self) -> str:
        return f"catalogs/{self.catalog}/datasets/{self.dataset}"


@dataclass(frozen=True, slots=True)
class FileName:
    """`catalogs/{catalog}/datasets/{dataset}/files/{path}`."""

    catalog: str
    dataset: str
    path: str

    @property
    def parent(self) -> DatasetName:
        """The dataset it lies in."""
        return DatasetName(self.catalog, self.dataset)

    def __str__(self) -> str:
        return f"catalogs/{self.catalog}/datasets/{self.dataset}/files/{self.path}"


@dataclass(frozen=True, slots=True)
class ArrayName:
    """`catalogs/{catalog}/datasets/{dataset}/arrays/{array}`."""

    catalog: str
    dataset: str
    array: str

    @property
    def parent(self) -> DatasetName:
        """The dataset it lies in."""
        return DatasetName(self.catalog, self.dataset)

    def __str__(self) -> str:
        return f"catalogs/{self.catalog}/datasets/{self.dataset}/arrays/{self.array}"


@dataclass(frozen=True, slots=True)
class BufferName:
    """`catalogs/{catalog}/buffers/{buffer}`."""

    catalog: str
    buffer: str

    @property
    def parent(self) -> CatalogName:
        """The catalog it lies in."""
        return CatalogName(self.catalog)

    def __str__(self) -> str:
        return f"catalogs/{self.catalog}/buffers/{self.buffer}"


@dataclass(frozen=True, slots=True)
class GroupName:
    """`catalogs/{catalog}/buffers/{buffer}/groups/{group}`."""

    catalog: str
    buffer: str
    group: str

    @property
    def parent(self) -> BufferName:
        """The buffer whose records it shares."""
        return BufferName(self.catalog, self.buffer)

    def __str__(self) -> str:
        return f"catalogs/{self.catalog}/buffers/{self.buffer}/groups/{self.group}"


def check_id(value: str, *, field: str) -> str:
    """Return the id of a catalog or dataset, or raise NameInvalid. A dataset's may be a ULID in capitals as well."""
    if not (_ID.fullmatch(value) or _ULID.fullmatch(value)):
        raise NameInvalid(
            f"{field}: {_shown(value)} is no id; use 1 to 128 of a-z 0-9 . _ - and begin with a letter or digit",
            field=field,
            name=value,
        )
    return value


def check_array_path(path: str, *, field: str = "name") -> str:
    """Return the name of an array within its dataset, or raise NameInvalid.

    The name is UTF-8 of 1 to 512 bytes in at most 16 segments, which are groups of Zarr; for each of them holds what
    holds for those of a file's path, and none begins with `__`, which Zarr keeps for itself.
    """
    check_path(path, field=field, what="array name", most_bytes=MAX_ARRAY_BYTES)
    segments = path.split("/")
    fault = ""
    if len(segments) > MAX_ARRAY_SEGMENTS:
        fault = f"has {len(segments)} segments; the most is {MAX_ARRAY_SEGMENTS}"
    elif any(segment.startswith("__") for segment in segments):
        fault = "has a segment that begins with `__`; begin it otherwise"
    elif "zarr.json" in segments:
        fault = "has the segment `zarr.json`, which Zarr keeps for itself; choose another"
    if fault:
        raise NameInvalid(f"{field}: the array name {_shown(path)} {fault}", field=field, name=path)
    return path


def parse_catalog(name: str, *, field: str = "name") -> CatalogName:
    """Take `catalogs/{catalog}` apart."""
    match = _match(_CATALOG, name, field, "catalogs/{catalog}")
    return CatalogName(check_id(match[1], field=field))


def parse_dataset(name: str, *, field: str = "name") -> DatasetName:
    """Take `catalogs/{catalog}/datasets/{dataset}` apart."""
    match = _match(_DATASET, name, field, "catalogs/{catalog}/datasets/{dataset}")
    return DatasetName(check_id(match[1], field=field), check_id(match[2], field=field))


def parse_file(name: str, *, field: str = "name") -> FileName:
    """Take `catalogs/{catalog}/datasets/{dataset}/files/{path}` apart."""
    match = _match(_FILE, name, field, "catalogs/{catalog}/datasets/{dataset}/files/{path}")
    dataset = DatasetName(check_id(match[1], field=field), check_id(match[2], field=field))
    return FileName(dataset.catalog, dataset.dataset, check_path(match[3], field=field))


def parse_array(name: str, *, field: str = "name") -> ArrayName:
    """Take `catalogs/{catalog}/datasets/{dataset}/arrays/{array}` apart."""
    match = _match(_ARRAY, name, field, "catalogs/{catalog}/datasets/{dataset}/arrays/{array}")
    dataset = DatasetName(check_id(match[1], field=field), check_id(match[2], field=field))
    return ArrayName(dataset.catalog, dataset.dataset, check_array_path(match[3], field=field))


def parse_buffer(name: str, *, field: str = "name") -> BufferName:
    """Take `catalogs/{catalog}/buffers/{buffer}` apart."""
    match = _match(_BUFFER, name, field, "catalogs/{catalog}/buffers/{buffer}")
    return BufferName(check_id(match[1], field=field), check_id(match[2], field=field))


def parse_group(name: str, *, field: str = "name") -> GroupName:
    """Take `catalogs/{catalog}/buffers/{buffer}/groups/{group}` apart."""
    match = _match(_GROUP, name, field, "catalogs/{catalog}/buffers/{buffer}/groups/{group}")
    if not _GROUP_ID.fullmatch(match[3]):
        raise NameInvalid(
            f"{field}: {_shown(match[3])} is no id of a group; use 1 to 128 of A-Z a-z 0-9 . _ - and begin with a "
            "letter or digit",
            field=field,
            name=name,
        )
    return GroupName(check_id(match[1], field=field), check_id(match[2], field=field), match[3])


def parse_revision(name: str, *, field: str = "name") -> tuple[DatasetName, int]:
    """Take `catalogs/{catalog}/datasets/{dataset}/revisions/{revision}` apart."""
    match = _match(_REVISION, name, field, "catalogs/{catalog}/datasets/{dataset}/revisions/{revision}")
    return parse_dataset(match[1], field=field), int(match[2])


def parse_upload(name: str, *, field: str = "name") -> str:
    """Return the ULID in `uploads/{upload}`."""
    match = _match(_UPLOAD, name, field, "uploads/{upload}")
    if not _ULID.fullmatch(match[1]):
        raise NameInvalid(f"{field}: {_shown(name)} is no upload; its id is a ULID", field=field, name=name)
    return match[1]


def parse_operation(name: str, *, field: str = "name") -> str:
    """Return the ULID in `operations/{operation}`."""
    match = _match(_OPERATION, name, field, "operations/{operation}")
    if not _ULID.fullmatch(match[1]):
        raise NameInvalid(f"{field}: {_shown(name)} is no operation; its id is a ULID", field=field, name=name)
    return match[1]


def _match(pattern: re.Pattern[str], name: str, field: str, form: str) -> re.Match[str]:
    match = pattern.fullmatch(name)
    if match is None:
        raise NameInvalid(f"{field}: {_shown(name)} is no name of the form {form}", field=field, name=name)
    return match
