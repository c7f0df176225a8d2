"""File names: what a path may be, and that nothing else gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.core.names import FileName, check_path, parse_catalog, parse_dataset, parse_file, parse_upload
from measurand.wire.errors import NameInvalid

DATASET = "catalogs/lab/datasets/run-1"

HOSTILE = [
    "",
    "/etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "a\0b",
    "a\nb",
    "a/\x1b[2J",
    "\x7f",
    "a\x85b",
    "x" * 256,
    "/".join(["y" * 100] * 11),
    "\ud800",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_path_is_refused_with_its_field(path: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        parse_file(f"{DATASET}/files/{path}")
    assert caught.value.reason == "NAME_INVALID"
    assert caught.value.details["field"] == "name"
    assert len(caught.value.message) < 600
    caught.value.message.encode()  # can be sent


@pytest.mark.parametrize(
    "path", ["a", "raw/trace.csv", "x" * 255, "Größe (µm).txt", "雪/❄.dat", "..a", "a..", "%2e%2e/x", "a b", "-", "CON"]
)
def test_any_other_path_is_a_name_and_comes_back_as_it_is(path: str) -> None:
    name = parse_file(f"{DATASET}/files/{path}")
    assert name == FileName("lab", "run-1", path)
    assert str(name) == f"{DATASET}/files/{path}"


@given(st.text(max_size=60))
def test_whatever_is_accepted_stays_below_its_dataset(path: str) -> None:
    try:
        check_path(path)
    except NameInvalid:
        return
    assert not path.startswith("/") and ".." not in path.split("/") and "\0" not in path
    assert parse_file(f"{DATASET}/files/{path}").path == path


@pytest.mark.parametrize(
    ("parse", "name"),
    [
        (parse_catalog, "lab"),
        (parse_catalog, "catalogs/"),
        (parse_catalog, "catalogs/Lab"),
        (parse_catalog, "catalogs/" + "a" * 129),
        (parse_dataset, "catalogs/lab"),
        (parse_dataset, "catalogs/lab/datasets/a/files/b"),
        (parse_dataset, "catalogs/lab/datasets/.hidden"),
        (parse_upload, "uploads/x"),
        (parse_upload, "uploads/../01JD0000000000000000000000"),
        (parse_file, f"{DATASET}/file/x"),
    ],
)
def test_a_malformed_name_is_refused_and_the_error_shows_it(parse: object, name: str) -> None:
    assert callable(parse)
    with pytest.raises(NameInvalid) as caught:
        parse(name)
    assert name.endswith(caught.value.details["name"])
