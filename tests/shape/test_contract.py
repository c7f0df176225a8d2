"""The contract, the errors and the servers in step with one another."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, ServiceDescriptor

import measurand.services
import measurand.v1
from measurand.v1 import common_pb2
from measurand.wire.errors import REASONS, MeasurandError

ROOT = Path(__file__).resolve().parents[2]
COMMON = (ROOT / "protos/measurand/v1/common.proto").read_text()


def files() -> Iterator[FileDescriptor]:
    for found in pkgutil.iter_modules(measurand.v1.__path__):
        if found.name.endswith("_pb2"):
            yield importlib.import_module(f"measurand.v1.{found.name}").DESCRIPTOR


def messages() -> Iterator[Descriptor]:
    for file in files():
        yield from file.message_types_by_name.values()


SERVICES: dict[str, ServiceDescriptor] = {
    name: service for file in files() for name, service in file.services_by_name.items()
}


def servicers() -> dict[str, type]:
    """Return each service's adapter: the class in `measurand.services` that the generated servicer is a base of."""
    found: dict[str, type] = {}
    for module in pkgutil.walk_packages(measurand.services.__path__, "measurand.services."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            bases = [base.__name__ for base in kind.__mro__[1:] if base.__module__.startswith("measurand.v1.")]
            found |= {base.removesuffix("Servicer"): kind for base in bases}
    return found


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_rpc_is_served(service: str) -> None:
    promised = {method.name for method in SERVICES[service].methods}
    assert promised - vars(servicers()[service]).keys() == set()


def test_bulk_data_is_field_15_and_the_last() -> None:
    bulk = 0
    for message in messages():
        for field in message.fields:
            if field.name == "data" and field.type == FieldDescriptor.TYPE_BYTES:
                bulk += 1
                assert field.number == 15 == max(message.fields_by_number), message.name
            elif message.name.endswith("Request"):
                assert field.number != 15, f"{message.name}.{field.name}: 15 is for bulk data"
    assert bulk >= 7


def reasons_in_the_contract() -> dict[str, str]:
    """Return each reason with the gRPC code that its comment begins with."""
    enum = COMMON[COMMON.index("enum ErrorReason") :]
    found = re.findall(r"((?:^ *//.*\n)+) *ERROR_REASON_(\w+) = \d+;", enum, re.MULTILINE)
    return {word: comment.strip(" /").partition(".")[0] for comment, word in found if word != "UNSPECIFIED"}


def test_errors_and_the_contract_name_the_same_reasons() -> None:
    values = {value.removeprefix("ERROR_REASON_") for value in common_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}
    assert reasons_in_the_contract().keys() == values
    assert {word for word, kind in REASONS.items() if not made_by_grpc(kind)} == values


def made_by_grpc(kind: type[MeasurandError]) -> bool:
    return kind.reason in {"DEADLINE_EXCEEDED", "CANCELLED"}


@pytest.mark.parametrize("word", sorted(reasons_in_the_contract()))
def test_an_error_has_the_code_that_the_contract_says(word: str) -> None:
    assert grpc.StatusCode[reasons_in_the_contract()[word]].value[0] == REASONS[word].code


def test_the_stubs_fit_what_is_installed_and_the_floors_say_so() -> None:
    floors = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    stubs = sorted((ROOT / "generated/measurand/v1").glob("*_pb2_grpc.py"))
    assert stubs
    for stub in stubs:
        made_with = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", stub.read_text())
        if made_with is None:
            continue  # a proto without a service
        assert f"grpcio>={made_with[1]}" in floors
        assert numbers(importlib.metadata.version("grpcio")) >= numbers(made_with[1])


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
