"""Who may know whom, beyond what import-linter says: a deny-list forgets new packages, these tables do not."""

from __future__ import annotations

import sys
from functools import cache

import grimp
import pytest

CORE_MAY_IMPORT = {
    "measurand.wire.errors",
    "measurand.wire.documents",
    "measurand.wire.paths",
    "measurand.wire.redundancy",
    "measurand.chunks.grid",
    "measurand.chunks.selections",
    "measurand.chunks.spec",
    "measurand.chunks.trees",
}

# Each package from outside, and the rooms or modules that may import it. A new package needs a line here, which is the
# moment to ask whether it is needed at all.
OWNERS = {
    "blake3": ("measurand.client", "measurand.server"),
    "botocore": ("measurand.storage.blobs.s3",),
    "bson": ("measurand.storage.documents.mongo",),
    "click": ("measurand.cli", "measurand.server"),
    "google": (
        *("measurand.v1", "measurand.wire", "measurand.services", "measurand.server", "measurand.client"),
        "measurand.storage.blobs.remote",
    ),
    "google_crc32c": ("measurand.client", "measurand.chunks", "measurand.server", "measurand.storage.blobs.checked"),
    "grpc": (
        *("measurand.v1", "measurand.services", "measurand.server", "measurand.client._transport"),
        "measurand.storage.blobs.remote",
    ),
    "grpc_health": ("measurand.server",),
    "grpc_reflection": ("measurand.server",),
    "numcodecs": ("measurand.chunks",),
    "numpy": (
        *("measurand.client", "measurand.chunks", "measurand.server.elements"),
        *("measurand.cli.plots", "measurand.cli.sampling"),
    ),
    "opentelemetry": ("measurand.server.tracing",),
    "pandas": ("measurand.client",),
    "platformdirs": ("measurand.client", "measurand.cli", "measurand.server"),
    "prometheus_client": ("measurand.server",),
    "pydantic": ("measurand.server.config",),
    "pydantic_settings": ("measurand.server.config",),
    "pymongo": ("measurand.storage.documents.mongo",),
    "re2": ("measurand.server",),
    "rich": ("measurand.cli", "measurand.client"),
    "xarray": ("measurand.client",),
    "zarr": ("measurand.client",),
}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("measurand", include_external_packages=True, cache_dir=None)


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def outside(module: str) -> bool:
    return not within(module, "measurand") and module not in sys.stdlib_module_names


def test_core_imports_the_standard_library_alone() -> None:
    found = {
        (importer, imported)
        for importer in graph().modules
        if within(importer, "measurand.core")
        for imported in graph().find_modules_directly_imported_by(importer)
        if not within(imported, "measurand.core") and imported not in sys.stdlib_module_names
    }
    assert not {pair for pair in found if pair[1] not in CORE_MAY_IMPORT}


def test_what_core_imports_of_wire_is_standard_library_too() -> None:
    for module in CORE_MAY_IMPORT:
        reached = graph().find_upstream_modules(module)
        assert not {name for name in reached if outside(name) or within(name, "measurand.v1")}, module


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_an_outside_package_is_imported_by_its_owners_only(package: str) -> None:
    assert package in graph().modules, f"nobody imports {package} any more: take its line out of OWNERS"
    importers = graph().find_modules_that_directly_import(package)
    strangers = {name for name in importers if not any(within(name, owner) for owner in OWNERS[package])}
    assert not strangers


def test_every_outside_package_has_an_owner() -> None:
    assert not {name for name in graph().modules if outside(name)} - OWNERS.keys()


def test_the_graph_holds_all_three_roots() -> None:
    rooms = {name.split(".")[1] for name in graph().modules if name.count(".") and within(name, "measurand")}
    assert rooms >= {"v1", "core", "storage", "services", "server", "wire", "client", "cli"}
