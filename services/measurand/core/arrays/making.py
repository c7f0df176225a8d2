"""What callers say of a new array, and the array that it makes. Functions without I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote

from measurand.chunks.spec import ArraySpec, block_shape, completed
from measurand.core.arrays.attributes import check_dimension_names
from measurand.core.arrays.documents import Array
from measurand.core.dataset_edits import Source
from measurand.core.names import ArrayName, DatasetName, check_array_path
from measurand.core.requests import check_request_id, fingerprint
from measurand.core.ulid import make_ulid
from measurand.wire.errors import RequestIdReused

__all__ = ["NewArray", "is_same_request", "make_array", "remember", "request_of", "spec_of_array", "staged_uid"]

CHANGES_KEPT = 8


@dataclass(frozen=True, slots=True)
class NewArray:
    """What a caller says of an array.

    Parameters
    ----------
    array_id : str
        The array's own name.
    data_type : str
        Of Zarr v3, as in `Array.data_type` of the contract.
    chunk_shape : tuple of int
        Empty: the server chooses one, of about 1 MiB.
    fill_value : bytes
        One element, little-endian. Empty: NaN, NaT, 0, False or no text.
    codecs : str
        The chain of Zarr v3 as JSON text. Empty: the server chooses one.
    attributes : Source, optional
        None: the empty object.
    """

    array_id: str
    shape: tuple[int, ...]
    data_type: str
    chunk_shape: tuple[int, ...] = ()
    fill_value: bytes = b""
    codecs: str = ""
    dimension_names: tuple[str, ...] = ()
    attributes: Source | None = None


def make_array(parent: DatasetName, draft: NewArray, attributes: str, creator: str, now: datetime) -> Array:
    """Return the array that a draft makes, without a uid. Raises InvalidArgument naming the field.

    Parameters
    ----------
    attributes : str
        Those of the draft, checked, as one line of Extended JSON.
    """
    name = ArrayName(parent.catalog, parent.dataset, check_array_path(draft.array_id, field="array_id"))
    check_dimension_names(draft.dimension_names, draft.shape)
    spec = completed(
        ArraySpec(
            shape=draft.shape,
            data_type=draft.data_type,
            chunk_shape=draft.chunk_shape,
            fill_value=draft.fill_value,
            codecs=draft.codecs,
            dimension_names=draft.dimension_names,
            attributes=json.loads(attributes),
        )
    )
    return Array(
        name=name,
        uid="",
        shape=spec.shape,
        data_type=spec.data_type,
        chunk_shape=spec.chunk_shape,
        block_shape=block_shape(spec.shape, spec.chunk_shape),
        fill_value=spec.fill_value,
        codecs=spec.codecs,
        creator=creator,
        create_time=now,
        update_time=now,
        dimension_names=spec.dimension_names,
        attributes=attributes,
    )


def spec_of_array(array: Array) -> ArraySpec:
    """Return what the `zarr.json` of an array says; its attributes as the Extended JSON that they are."""
    return ArraySpec(
        shape=array.shape,
        data_type=array.data_type,
        chunk_shape=array.chunk_shape,
        fill_value=array.fill_value,
        codecs=array.codecs,
        dimension_names=array.dimension_names,
        attributes=json.loads(array.attributes),
    )


def request_of(request_id: str, *asked: object) -> str:
    """Return what an array keeps of a request: `{id} {fingerprint}`. Empty without an id."""
    if not request_id:
        return ""
    check_request_id(request_id)
    return f"{quote(request_id, safe='')} {fingerprint(*asked)}"


def is_same_request(made: str, request: str) -> bool:
    """Tell whether `made` was made by this request, or raise RequestIdReused when another has had the same id."""
    if not request or made.partition(" ")[0] != request.partition(" ")[0]:
        return False
    if made != request:
        raise RequestIdReused("this request_id was used before for another request; make a new one")
    return True


def remember(array: Array, request: str) -> Array:
    """Return the array with the request among those that changed it."""
    return replace(array, changes=(*array.changes, request)[-CHANGES_KEPT:]) if request else array


def staged_uid(parent: DatasetName, request: str, now: datetime, random_bytes: Callable[[int], bytes]) -> str:
    """Return the uid of a staged array: nobody knows it yet, so a repeated request finds by it what it made before."""
    if not request:
        return make_ulid(now, random_bytes).lower()
    digest = hashlib.sha256(f"{parent} {request.partition(' ')[0]}".encode()).digest()
    time = datetime.fromtimestamp(int.from_bytes(digest[:5], "big") / 1000, UTC)
    return make_ulid(time, lambda size: digest[5 : 5 + size]).lower()
