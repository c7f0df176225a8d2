"""The settings: where they come from, which one wins, and what is said about a wrong one."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from measurand.server.config import (
    BLOB_KINDS,
    DOCUMENT_KINDS,
    Address,
    Config,
    ConfigError,
    LimitSettings,
    Place,
    load,
    parse_place,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/measurand.toml"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "DATA", "LISTEN", "CONFIG"):
        monkeypatch.delenv(f"MEASURAND_{name}", raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "measurand.toml"
    path.write_text(text)
    return path


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, 'listen = "127.0.0.1:1"\nhttp = "127.0.0.1:1"\nworkers = 3\n')
    monkeypatch.setenv("MEASURAND_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("MEASURAND_HTTP", "127.0.0.1:2")
    config = load({"listen": "127.0.0.1:3", "http": None}, file)
    assert (config.listen.port, config.http and config.http.port, config.workers) == (3, 2, 3)


def test_a_variable_can_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEASURAND_CONFIG", str(write(tmp_path, "workers = 2\n")))
    assert load({}).workers == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('lisen = "127.0.0.1:1"', "lisen: there is no such setting"),
        ("[limits]\nblob_gracce = 1", "limits.blob_gracce: there is no such setting"),
        ('listen = "here"', "measurand.toml: listen: 'here' is no HOST:PORT"),
        ('listen = "127.0.0.1:70000"', "is no HOST:PORT"),
        ("workers = 0", "measurand.toml: workers: Input should be greater than or equal to 1"),
        ("this is no toml", "measurand.toml: Expected '='"),
        ('documents = "postgres://x"', "is not of the form sqlite:///FOLDER/FILE or mongodb://HOST"),
        ('blobs = "s3:///bucket"', "is not of the form file:///FOLDER or s3://BUCKET/PREFIX"),
        ('[limits]\nblob_grace = "-1h"', "limits.blob_grace"),
    ],
)
def test_a_wrong_line_of_the_file_is_an_error_that_names_it(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        load({}, write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("MEASURAND_LISEN", "127.0.0.1:1", "MEASURAND_LISEN: there is no such setting"),
        ("MEASURAND_LIMITS__GRACE", "1h", "limits.grace: there is no such setting"),
        ("MEASURAND_WORKERS", "many", "MEASURAND_WORKERS: Input should be a valid integer"),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=named):
        load({})


def test_variables_of_the_client_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEASURAND_URL", "somewhere:50051")
    assert load({}).listen == Address("127.0.0.1", 50051)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load({}, tmp_path / "none.toml")


@pytest.mark.parametrize("setting", ["listen", "http"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.7", "lab.example"])
def test_an_address_that_others_can_reach_is_refused_unless_that_is_said(setting: str, host: str) -> None:
    with pytest.raises(ConfigError, match=f"--{setting} .*--insecure"):
        load({setting: f"{host}:50051"})
    address: Address = getattr(load({setting: f"{host}:50051", "insecure": True}), setting)
    assert str(address) == f"{host}:50051"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost"])
def test_this_machine_alone_is_no_danger(host: str) -> None:
    assert load({"listen": f"{host}:0"}).listen.port == 0


def test_stores_lie_in_the_data_folder_unless_said_otherwise(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    config = load({"data": folder})
    assert config.documents_place == Place("sqlite", folder / "documents.sqlite")
    assert config.blobs_place == Place("file", folder)
    assert config.uses_folder
    elsewhere = load({"documents": "sqlite:///a%20b/c.sqlite", "blobs": "file:///d"})
    assert (elsewhere.documents_place.path, elsewhere.blobs_place.path) == (Path("/a b/c.sqlite"), Path("/d"))
    assert not elsewhere.uses_folder


def test_documents_in_memory_never_stand_beside_blobs_on_disk(tmp_path: Path) -> None:
    assert load({"documents": "memory:"}).blobs_place == Place("memory")
    with pytest.raises(ConfigError, match="--blobs memory:"):
        load({"documents": "memory:", "blobs": f"file://{tmp_path}"})


def test_workers_cannot_share_memory() -> None:
    with pytest.raises(ConfigError, match="--workers"):
        load({"documents": "memory:", "workers": 2})


def test_what_everything_goes_into_is_said_once(tmp_path: Path) -> None:
    assert load({"containers": 8}).blobs_place == Place("containers")
    assert load({"containers": 8, "blobs": "containers:"}).blobs_place == Place("containers")
    assert load({"blobs": "containers:"}).is_on_network
    assert load({"containers": 8}).uses_folder
    for blobs in (f"file://{tmp_path}", "s3://bucket?endpoint=http://h:1"):
        with pytest.raises(ConfigError, match=r"--containers: .*leave one of them out"):
            load({"containers": 8, "blobs": blobs})
    for place in ({"containers": 8}, {"blobs": "containers:"}):
        with pytest.raises(ConfigError, match="documents"):
            load({"documents": "memory:", **place})
    with pytest.raises(ConfigError, match=r"--storage: .*erasure:4"):
        load({"storage": "raid5"})


def test_durations_may_be_written_with_a_unit(tmp_path: Path) -> None:
    config = load({}, write(tmp_path, '[limits]\nblob_grace = "90m"\nupload_lifetime = 60\nundelete_window = "1.5d"\n'))
    limits = config.limits.make()
    assert limits.blob_grace == timedelta(minutes=90)
    assert limits.upload_lifetime == timedelta(minutes=1)
    assert limits.undelete_window == timedelta(hours=36)


def test_the_example_names_every_setting_and_shows_the_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    shown = re.findall(r"^# (\w+) = ", text, re.MULTILINE)
    assert set(shown) == (Config.model_fields.keys() - {"limits", "tracing"}) | LimitSettings.model_fields.keys() | {
        "endpoint"
    }
    opened = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    config, default = load({}, write(tmp_path, opened)), load({})
    of_this_machine = {"data", "documents", "blobs"}
    for name in Config.model_fields.keys() - of_this_machine:
        assert getattr(config, name) == getattr(default, name), name


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("mongodb://h1,h2/lab?replicaSet=rs0", "mongodb", "mongodb://h1,h2/lab?replicaSet=rs0"),
        ("mongodb://ann:s3cret%40x@h1/lab", "mongodb", "mongodb://ann:…@h1/lab"),
        ("mongodb+srv://ann:secret@cluster.example/lab", "mongodb", "mongodb+srv://ann:…@cluster.example/lab"),
        ("s3://bucket/prefix?endpoint=http://h:9000", "s3", "s3://bucket/prefix?endpoint=http://h:9000"),
        ("file:///data/a%20b", "file", "file:///data/a b"),
    ],
)
def test_a_place_is_shown_without_its_password_and_written_with_it(url: str, kind: str, shown: str) -> None:
    place = parse_place(url, *BLOB_KINDS, *DOCUMENT_KINDS)
    assert (place.kind, str(place), place.written) == (kind, shown, url)
    assert "secret" not in repr(place) and "s3cret" not in repr(place)


@pytest.mark.parametrize("url", ["mongodb:", "mongodb://", "s3:bucket", "http://h", "sqlite://h/x", "mongodb://[::1"])
def test_a_url_that_names_no_place_is_refused_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(ValueError, match="is not of the form sqlite:///FOLDER/FILE or mongodb://HOST"):
        parse_place(url, *DOCUMENT_KINDS)


def test_a_refused_url_does_not_tell_its_password() -> None:
    with pytest.raises(ConfigError) as refused:
        load({"documents": "postgres://ann:secret@h/lab"})
    assert "secret" not in str(refused.value)
