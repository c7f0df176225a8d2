"""Wrappers write out every verb of their port: one that they inherited or forgot would slip past them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_type_hints

import pytest

import measurand.storage.blobs
import measurand.storage.documents
from measurand.core.ports import BlobStore, DocumentStore, Stage

PORTS: tuple[type, ...] = (BlobStore, DocumentStore, Stage)


def verbs(port: type) -> set[str]:
    return {name for name, value in vars(port).items() if inspect.isfunction(value) and not name.startswith("_")}


def modules_of(*packages: ModuleType) -> Iterator[ModuleType]:
    for package in packages:
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            yield importlib.import_module(found.name)


def wrappers() -> Iterator[tuple[type, type]]:
    """Yield each wrapper and its port: a class whose first argument is an `inner` of that port."""
    for module in modules_of(measurand.storage.blobs, measurand.storage.documents):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and inspect.isfunction(kind.__init__):
                hints: dict[str, Any] = get_type_hints(kind.__init__)
                if hints.get("inner") in PORTS:
                    yield kind, hints["inner"]


WRAPPERS = {f"{kind.__module__}.{kind.__name__}": (kind, port) for kind, port in wrappers()}


def test_the_wrappers_are_found() -> None:
    rooms = {name.rpartition(".")[0] for name in WRAPPERS}
    assert rooms >= {"measurand.storage.blobs.checked", "measurand.storage.blobs.measured"}


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_a_wrapper_writes_out_every_verb_of_its_port(name: str) -> None:
    kind, port = WRAPPERS[name]
    assert verbs(port) - vars(kind).keys() == set()


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_a_wrapper_adds_no_verb_to_its_port(name: str) -> None:
    kind, port = WRAPPERS[name]
    public = {key for key, value in vars(kind).items() if inspect.isfunction(value) and not key.startswith("_")}
    assert public - verbs(port) == set()


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_a_wrapper_takes_what_it_wraps_first(name: str) -> None:
    assert next(iter(inspect.signature(WRAPPERS[name][0]).parameters)) == "inner"
