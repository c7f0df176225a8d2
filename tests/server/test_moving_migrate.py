"""Formats: a store that is older is brought up by `measurand migrate`, one that is newer is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.server.moving_folder import config_of, files_of, fill, measurand, rooms_of

from measurand.core.deployments import DEPLOYMENTS, FORMAT
from measurand.core.ports import Document
from measurand.server.config import Place
from measurand.server.folder import Presence
from measurand.server.moving.opening import opening


def set_format(folder: Path, number: int | None) -> None:
    """Give the documents another format."""

    async def change() -> None:
        async with opening() as stores:
            store = await stores.documents(Place("sqlite", folder / "documents.sqlite"))
            found = await store.fetch(DEPLOYMENTS, "deployment")
            assert found is not None
            body = {key: value for key, value in found.body.items() if key != "format"}
            if number is not None:
                body["format"] = number
            new = Document("deployment", "", body)
            assert await store.replace(DEPLOYMENTS, new, expected_revision=found.revision)

    asyncio.run(change())


def test_a_store_from_before_formats_had_numbers_is_refused_and_brought_up(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    busy = fill(config)
    set_format(tmp_path, None)
    mark = tmp_path / "deployment"
    mark.write_text(mark.read_text().splitlines()[0] + "\n")
    refused = measurand("serve", "--data", tmp_path, "--http", "off")
    assert refused.exit_code == 1
    assert f"format 0, and this release needs {FORMAT}" in refused.stderr and "measurand migrate" in refused.stderr
    done = measurand("migrate", "--data", tmp_path)
    assert done.exit_code == 0, done.output
    assert "documents: format 1: " in done.stdout and "blobs: format 1" in done.stdout
    assert files_of(config, busy) > 0
    again = measurand("migrate", "--data", tmp_path)
    assert again.exit_code == 0 and again.stdout == f"the store has format {FORMAT}\n"


def test_an_older_mark_of_the_blobs_is_refused_by_itself(tmp_path: Path) -> None:
    fill(config_of(tmp_path), steps=1)
    mark = tmp_path / "deployment"
    mark.write_text(mark.read_text().splitlines()[0] + "\n")
    refused = measurand("serve", "--data", tmp_path, "--http", "off")
    assert refused.exit_code == 1 and "the blobs have format 0" in refused.stderr
    assert measurand("migrate", "--data", tmp_path).exit_code == 0


@pytest.mark.parametrize("command", ["serve", "migrate", "backup"])
def test_a_newer_store_is_refused_with_both_numbers(tmp_path: Path, command: str) -> None:
    fill(config_of(tmp_path / "store"), steps=1)
    set_format(tmp_path / "store", FORMAT + 1)
    words = [tmp_path / "backups"] if command == "backup" else []
    done = measurand(command, *words, "--data", tmp_path / "store")
    assert done.exit_code == 1
    assert f"format {FORMAT + 1}, and this release knows formats up to {FORMAT}" in done.stderr


def test_newer_blobs_are_refused_with_both_numbers(tmp_path: Path) -> None:
    fill(config_of(tmp_path), steps=1)
    mark = tmp_path / "deployment"
    mark.write_text(f"{mark.read_text().splitlines()[0]}\nformat {FORMAT + 1}\n")
    done = measurand("serve", "--data", tmp_path, "--http", "off")
    assert done.exit_code == 1
    assert f"the blobs have format {FORMAT + 1}, and this release knows formats up to {FORMAT}" in done.stderr


def test_a_store_that_is_served_is_not_migrated(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    fill(config, steps=1)

    async def while_served() -> tuple[int, str]:
        async with rooms_of(config):
            presence = Presence(tmp_path, address="127.0.0.1:1", instance_id="here", is_private=False)
            assert await presence.claim()
            try:
                done = await asyncio.to_thread(measurand, "migrate", "--data", tmp_path)
                return done.exit_code, done.stderr
            finally:
                presence.release()

    code, said = asyncio.run(while_served())
    assert code == 1 and "a server stands on this store" in said


def test_there_must_be_a_store_to_migrate(tmp_path: Path) -> None:
    done = measurand("migrate", "--data", tmp_path / "none")
    assert done.exit_code == 1 and "there is no such store" in done.stderr
    assert not (tmp_path / "none").exists()
