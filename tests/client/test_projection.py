from __future__ import annotations

import pytest

from measurand.client.errors import InvalidArgument
from measurand.client.projection import project


def parts(*fields: str) -> tuple[set[str], list[str]]:
    made = project(fields)
    return set(made["read_mask"].paths), list(made["metadata_paths"])


def test_named_fields_and_keys_are_fetched_and_what_a_handle_needs() -> None:
    mask, paths = parts("title", "created", "metadata.device.wafer")
    assert mask == {"name", "etag", "revision", "title", "create_time", "metadata"}
    assert paths == ["device.wafer"]


def test_a_word_that_is_no_field_is_a_metadata_key() -> None:
    assert parts("temperature")[1] == ["temperature"]


def test_all_of_the_metadata_goes_before_a_part_of_it() -> None:
    assert parts("metadata", "metadata.x") == ({"name", "etag", "revision", "metadata"}, [])


def test_without_some_means_all_the_others() -> None:
    mask, paths = parts("-metadata.instruments", "-title")
    assert {"metadata", "kind", "tags", "name"} <= mask
    assert "title" not in mask
    assert paths == ["-instruments"]


def test_a_handle_keeps_what_it_needs() -> None:
    assert {"name", "etag", "revision"} <= parts("-id", "-etag", "-revision")[0]


@pytest.mark.parametrize("fields", [["title", "-metadata.x"], "title"])
def test_a_mix_or_a_bare_text_is_refused(fields: list[str] | str) -> None:
    with pytest.raises(InvalidArgument, match="title"):
        project(fields)


def test_no_fields_means_everything() -> None:
    assert "read_mask" not in project(None)
