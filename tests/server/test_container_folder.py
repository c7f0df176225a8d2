"""The folder of a container that a process serves: whose it is, and what is kept in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from measurand.server.config import ConfigError
from measurand.server.container.folder import Folder
from measurand.server.container.settings import settings_of
from measurand.wire.errors import FailedPrecondition, LeaseHeld

GIVEN = {
    "servers": ["grpc://server"],
    "data": "/data/Nas-1",
    "listen": "127.0.0.1:0",
    "advertise": None,
    "name": "",
    "title": "",
    "zone": "hall-3",
    "labels": ("disk=ssd",),
    "weight": 1.0,
    "max_bytes": "500GiB",
    "http": "off",
    "insecure": False,
}


def test_what_is_kept_is_found_again_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path / "c1", "c1")
    folder.keep(uid="u1", lease_id="secret", request_id="")
    folder.belong_to("d1")
    folder.close()
    again = Folder.open(tmp_path / "c1", "c1")
    assert (again.membership.uid, again.membership.lease_id, again.deployment_id) == ("u1", "secret", "d1")
    assert (tmp_path / "c1/container").read_text() == "u1\n"
    assert [path for path in (tmp_path / "c1").iterdir() if path.stat().st_mode & 0o077] == []
    again.close()


def test_a_folder_is_served_once(tmp_path: Path) -> None:
    first = Folder.open(tmp_path / "c1", "c1")
    with pytest.raises(LeaseHeld, match=r"LEASE_HELD.*another process"):
        Folder.open(tmp_path / "c1", "c1")
    first.close()
    Folder.open(tmp_path / "c1", "c1").close()


def test_a_folder_of_another_deployment_is_refused(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path / "c1", "c1")
    folder.belong_to("d1")
    folder.belong_to("d1")
    with pytest.raises(FailedPrecondition, match="deployment d1"):
        folder.belong_to("d2")
    assert folder.deployment_id == "d1"
    folder.close()


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "c1").mkdir()
    (tmp_path / "c1/thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="empty folder"):
        Folder.open(tmp_path / "c1", "c1")
    assert [path.name for path in (tmp_path / "c1").iterdir()] == ["thesis.tex"]


def test_a_folder_is_one_container(tmp_path: Path) -> None:
    Folder.open(tmp_path / "c1", "c1").close()
    with pytest.raises(ConfigError, match="containers/c1"):
        Folder.open(tmp_path / "c1", "c2")
    Folder.open(tmp_path / "c1", "c1").close()


def test_a_disk_that_is_not_there_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Folder.open(tmp_path / "mnt/c1", "c1")
    assert not (tmp_path / "mnt").exists()


def test_drafts_that_a_killed_process_left_are_removed_and_nothing_else(tmp_path: Path) -> None:
    Folder.open(tmp_path / "c1", "c1").close()
    for name in ("container.json.123", "container.7", "deployment.99", "container.json.backup"):
        (tmp_path / "c1" / name).write_text("half")
    Folder.open(tmp_path / "c1", "c1").close()
    left = {path.name for path in (tmp_path / "c1").iterdir()}
    assert left == {"container.json", "container.lock", "container.json.backup"}


def test_options_make_settings() -> None:
    settings = settings_of(GIVEN)
    assert settings.servers == ["server:50051"]
    assert (settings.name, settings.zone, settings.labels) == ("nas-1", "hall-3", {"disk": "ssd"})
    assert settings.max_bytes == 500 << 30
    assert str(settings.advertise) == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"listen": "0.0.0.0:1"}, "--insecure"),
        ({"listen": "0.0.0.0:1", "insecure": True}, "--advertise"),
        ({"listen": "here"}, "--listen: 'here'"),
        ({"advertise": "nas"}, "--advertise: 'nas'"),
        ({"name": "Ä"}, "--name"),
        ({"labels": ("ssd",)}, "KEY=VALUE"),
        ({"max_bytes": "much"}, "--max-bytes much"),
        ({"servers": ["https://server"]}, "--of https://server"),
        ({"servers": ["server:port"]}, "--of server:port"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings_of({**GIVEN, **changes})
