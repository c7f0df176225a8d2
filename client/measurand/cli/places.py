"""Places as they are typed: CATALOG, CATALOG/DATASET, what is in a dataset behind /files/ or /arrays/.

Resource names do as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

__all__ = ["CATALOG", "DATASET", "PLACE", "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is.

    Parameters
    ----------
    catalog : str
        The catalog's id.
    dataset : str
        The dataset's id; empty: the catalog itself is meant.
    path : str, optional
        A path in the dataset, a folder if it ends in `/`; empty: all its files. None: no file is meant.
    array : str, optional
        An array, or a group of them if it ends in `/`; empty: all of them. None: no array is meant.
    """

    catalog: str
    dataset: str = ""
    path: str | None = None
    array: str | None = None

    def __str__(self) -> str:
        text = f"{self.catalog}/{self.dataset}" if self.dataset else self.catalog
        if self.array is not None:
            return f"{text}/arrays/{self.array}"
        return text if self.path is None else f"{text}/files/{self.path}"

    @property
    def is_folder(self) -> bool:
        """Whether many files are meant."""
        return self.path is not None and (self.path == "" or self.path.endswith("/"))

    @property
    def is_group(self) -> bool:
        """Whether many arrays are meant."""
        return self.array is not None and (self.array == "" or self.array.endswith("/"))


def parse_place(text: str) -> Place:
    """Return the place that a text names. ValueError: what is wrong with it."""
    rest = text.removeprefix("catalogs/") if text.count("/") else text
    parts = rest.split("/")
    if text.startswith("catalogs/") and len(parts) > 1:
        if parts[1] != "datasets" or len(parts) < 3:
            raise ValueError(f"{text!r} is no place; write CATALOG/DATASET")
        parts = [parts[0], *parts[2:]]
    catalog, dataset = parts[0], parts[1] if len(parts) > 1 else ""
    inside: dict[str, str] = {}
    if len(parts) > 2 and parts[2:] != [""]:
        if parts[2] not in INSIDE:
            raise ValueError(f"{text!r} is no place; write CATALOG/DATASET/files/PATH or CATALOG/DATASET/arrays/NAME")
        inside[INSIDE[parts[2]]] = "/".join(parts[3:])
    if not catalog or (inside and not dataset):
        raise ValueError(f"{text!r} names no catalog or no dataset; write CATALOG/DATASET")
    return Place(catalog, dataset, **inside)


INSIDE = {"files": "path", "arrays": "array"}


class PlaceType(click.ParamType[Place]):
    """A parameter that is a place.

    Parameters
    ----------
    name : str
        How it is shown.
    needs_dataset, allows_dataset, allows_path : bool
        What it may name.
    """

    def __init__(self, name: str, *, needs_dataset: bool, allows_dataset: bool, allows_path: bool) -> None:
        self.name = name
        self.needs_dataset = needs_dataset
        self.allows_dataset = allows_dataset
        self.allows_path = allows_path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        if isinstance(value, Place):
            return value
        try:
            place = parse_place(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if self.needs_dataset and not place.dataset:
            self.fail(f"{value!r} names no dataset; write CATALOG/DATASET", param, ctx)
        if place.dataset and not self.allows_dataset:
            self.fail(f"{value!r} names a dataset; write the catalog only", param, ctx)
        if (place.path is not None or place.array is not None) and not self.allows_path:
            self.fail(f"{value!r} names what is in a dataset; write CATALOG/DATASET only", param, ctx)
        return place

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer catalogs, and the newest datasets of the one that is typed; nothing if the server does not answer."""
        from measurand.cli.session import Session
        from measurand.wire.errors import MeasurandError

        session = ctx.find_object(Session) or Session()
        catalog, slash, _ = incomplete.partition("/")
        try:
            with session.connect(timeout=1.0) as client:
                if not slash:
                    ids = [found.id for found in client.catalogs()]
                    end = "/" if self.needs_dataset else ""
                    return [CompletionItem(f"{id}{end}") for id in ids if id.startswith(incomplete)]  # noqa: A001
                if not self.allows_dataset:
                    return []
                newest = client.catalog(catalog).find(order_by="-created", limit=100, fields=["title"])
                offers = [CompletionItem(f"{catalog}/{found.id}", help=found.title) for found in newest]
                return [offer for offer in offers if str(offer.value).startswith(incomplete)]
        except MeasurandError:
            return []


CATALOG = PlaceType("CATALOG", needs_dataset=False, allows_dataset=False, allows_path=False)
DATASET = PlaceType("CATALOG/DATASET", needs_dataset=True, allows_dataset=True, allows_path=False)
PLACE = PlaceType("PLACE", needs_dataset=False, allows_dataset=True, allows_path=True)
