"""The arrays of a dataset as Zarr: their metadata as a tree, their chunks as they are stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.chunks.trees import tree_documents
from measurand.client import methods, names
from measurand.client._async.array_reads import fetch_chunk, written_chunks
from measurand.client._async.calls import AsyncCalls
from measurand.client.address import Address, find_address
from measurand.client.array_facts import JSON, KNOWN
from measurand.client.array_layouts import Layout, layout_of, spec_of_message
from measurand.client.retries import Deadlines
from measurand.client.zarr_tree import Tree
from measurand.v1 import arrays_pb2

__all__ = ["AsyncPlainArrays", "tree_of"]


class AsyncPlainArrays:
    """Reads the arrays of one dataset past their handles, over a connection of its own; it can be pickled.

    Parameters
    ----------
    address : Address
        Of the server.
    deadlines : Deadlines
        How long calls may take.
    dataset : str
        The dataset's resource name.
    attributes : mapping
        Of the root of the tree, JSON values.
    """

    def __init__(self, address: Address, deadlines: Deadlines, dataset: str, attributes: Mapping[str, Any]) -> None:
        self.dataset = dataset
        self._calls = AsyncCalls(address, deadlines)
        self._attributes = attributes

    async def tree(self) -> Tree:
        """Return the arrays as they are now."""
        found: list[arrays_pb2.Array] = []
        request = arrays_pb2.ListArraysRequest(
            parent=self.dataset, page_size=1000, read_mask=FieldMask(paths=KNOWN), document_form=JSON
        )
        while True:
            page = await self._calls.unary(methods.LIST_ARRAYS, request)
            found += page.arrays
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return tree_of(found, self._attributes)

    async def chunk(self, layout: Layout, index: Sequence[int]) -> Any:
        """Return an encoded chunk, or None if it was never written."""
        return (await fetch_chunk(self._calls, layout, index)).data

    async def written(self, layout: Layout) -> list[tuple[int, ...]]:
        """Return the index of every chunk that was written, in C order."""
        return await written_chunks(self._calls, layout)

    async def close(self) -> None:
        """Let the connection go."""
        await self._calls.close()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncPlainArrays) and (self.dataset, self._calls.address) == (
            other.dataset,
            other._calls.address,
        )

    def __hash__(self) -> int:
        return hash(self.dataset)

    def __reduce__(self) -> tuple[Any, ...]:
        # A token stays where it is: the other process finds its own, as every new client does.
        address = replace(self._calls.address, token="")
        return _reopened, (address, self._calls.deadlines, self.dataset, self._attributes)


def _reopened(address: Address, deadlines: Deadlines, dataset: str, attributes: Mapping[str, Any]) -> AsyncPlainArrays:
    own = replace(address, token=find_address(address.target or None).token)
    return AsyncPlainArrays(own, deadlines, dataset, attributes)


def tree_of(arrays: Iterable[arrays_pb2.Array], attributes: Mapping[str, Any]) -> Tree:
    """Return the tree of arrays that messages tell of.

    Parameters
    ----------
    attributes : mapping
        Of its root, JSON values.
    """
    specs, layouts = {}, {}
    for message in arrays:
        name = names.array_path(message.name)
        specs[name] = replace(spec_of_message(message), attributes=json.loads(message.attributes.json or "{}"))
        layouts[name] = layout_of(message)
    return Tree(tree_documents(specs, attributes), layouts)
