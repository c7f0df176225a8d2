"""The arrays of a dataset at one moment, as a tree of Zarr v3."""

from __future__ import annotations

from dataclasses import dataclass, field

from measurand.client.array_layouts import Layout

__all__ = ["Tree"]


@dataclass(frozen=True, slots=True)
class Tree:
    """The arrays of a dataset at one moment.

    Parameters
    ----------
    documents : dict
        Every `zarr.json` by its key.
    layouts : dict
        How each array lies in chunks, by its name.
    """

    documents: dict[str, str] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)
