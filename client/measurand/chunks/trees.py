"""Arrays that lie side by side as a tree of Zarr v3 groups, each consolidated, with axes that xarray can line up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from measurand.chunks.axes import named_axes
from measurand.chunks.spec import ArraySpec, group_json, zarr_json

__all__ = ["METADATA", "tree_documents", "with_named_axes"]

METADATA = "zarr.json"


def with_named_axes(specs: Mapping[str, ArraySpec]) -> dict[str, ArraySpec]:
    """Return arrays whose axes all have names; in each group one name has one length. See `named_axes`."""
    named: dict[str, ArraySpec] = {}
    for group in {_group(name) for name in specs}:
        inside = {name[len(group) :]: spec for name, spec in specs.items() if _group(name) == group}
        axes = named_axes({name: (spec.shape, spec.dimension_names) for name, spec in inside.items()})
        named.update({f"{group}{name}": replace(spec, dimension_names=axes[name]) for name, spec in inside.items()})
    return {name: named[name] for name in specs}


def tree_documents(specs: Mapping[str, ArraySpec], attributes: Mapping[str, object]) -> dict[str, str]:
    """Return every `zarr.json` of a tree by its key, such as `entry/data/zarr.json`, that of the root last.

    Every group holds the metadata of all that is below it ("consolidated"), so opening one is one read.

    Parameters
    ----------
    specs : mapping
        The arrays by their names.
    attributes : mapping
        Of the root, JSON values.
    """
    named = with_named_axes(specs)
    groups = {""}
    for name in named:
        while name := _group(name)[:-1]:
            groups.add(f"{name}/")
    documents = {f"{name}/{METADATA}": zarr_json(spec) for name, spec in named.items()}
    for group in sorted(groups, reverse=True):  # the root, "", comes last
        members: dict[str, ArraySpec | None] = {
            other[len(group) : -1]: None for other in groups if other.startswith(group) and other != group
        }
        members |= {name[len(group) :]: spec for name, spec in named.items() if name.startswith(group)}
        documents[f"{group}{METADATA}"] = group_json({} if group else attributes, dict(sorted(members.items())))
    return documents


def _group(name: str) -> str:
    """Return the group of an array with its slash; empty for the root."""
    head, slash, _ = name.rpartition("/")
    return f"{head}{slash}"
