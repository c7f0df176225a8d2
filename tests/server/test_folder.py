"""The data folder: what format it has, and which server is told of in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from measurand.core.limits import Limits
from measurand.server.config import ConfigError, Place
from measurand.server.folder import FORMAT, Presence, open_folder
from measurand.server.means import in_threads, make_means, make_threads
from measurand.server.metrics import Metrics
from measurand.server.stores import open_blobs, open_documents


def presence(folder: Path, instance_id: str) -> Presence:
    return Presence(folder, address="127.0.0.1:1", instance_id=instance_id, is_private=True)


def told_of(folder: Path) -> str:
    return str(json.loads((folder / "server.json").read_text())["instance_id"])


def test_a_new_folder_gets_the_format_of_this_release_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    open_folder(folder)
    assert (folder / "format").read_text() == f"{FORMAT}\n"
    assert folder.stat().st_mode & 0o077 == 0
    open_folder(folder)


@pytest.mark.parametrize("text", [str(FORMAT + 1), "new", ""])
def test_a_folder_of_a_newer_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "format").write_text(text)
    with pytest.raises(ConfigError, match="newer release"):
        open_folder(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--data .*file"):
        open_folder(tmp_path / "file")


async def test_of_two_servers_the_first_is_told_of_and_then_the_other(tmp_path: Path) -> None:
    first, second = presence(tmp_path, "first"), presence(tmp_path, "second")
    assert await first.claim()
    assert not await second.claim()
    assert told_of(tmp_path) == "first"
    second.release()  # it is not its own
    assert told_of(tmp_path) == "first"
    first.release()
    assert not (tmp_path / "server.json").exists()
    assert await second.claim()
    assert await second.claim()
    assert told_of(tmp_path) == "second"
    second.release()


async def test_what_a_killed_server_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"instance_id": "dead"}')
    (tmp_path / "server.lock").touch()
    here = presence(tmp_path, "alive")
    assert await here.claim()
    assert json.loads((tmp_path / "server.json").read_text()) == {
        "address": "127.0.0.1:1",
        "pid": os.getpid(),
        "instance_id": "alive",
        "private": True,
    }
    here.release()


async def test_a_document_store_keeps_the_id_of_its_deployment(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "one", "other"):
        opened = await open_documents(Place("sqlite", tmp_path / f"{name}.sqlite"))
        await opened.store.close()
        ids.append(opened.deployment_id)
    assert ids[0] == ids[1] != ids[2]


async def test_the_blobs_of_another_document_store_are_refused(tmp_path: Path) -> None:
    with make_threads("test") as threads:
        means = make_means(threads)
        place = Place("file", tmp_path)
        blobs = (await open_blobs(place, "01A", means, in_threads(threads), Metrics())).store
        await blobs.put("kept/a", [b"abc"])
        await blobs.close()
        with pytest.raises(ConfigError, match="another document store"):
            await open_blobs(place, "01B", means, in_threads(threads), Metrics())
        again = (await open_blobs(place, "01A", means, in_threads(threads), Metrics())).store
        assert (await again.stat("kept/a")).size == 3
        assert "measured(checked(local(" in repr(again)
        await again.close()


def test_limits_that_can_be_set_have_the_defaults_of_core() -> None:
    from measurand.server.config import LimitSettings

    assert LimitSettings().make() == Limits()
