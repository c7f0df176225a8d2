from __future__ import annotations

from pathlib import Path

import pytest

from measurand.client.address import Address, find_address, parse_address
from measurand.client.errors import InvalidArgument


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("host:7", Address("host:7")),
        ("host", Address("host:50051")),
        ("grpc://host:7", Address("host:7")),
        ("grpcs://host:7/", Address("host:7", tls=True)),
        ("[::1]:7", Address("[::1]:7")),
        ("memory:", Address("", private="memory")),
        ("file:///data/my%20lab", Address("", private="file", folder="/data/my lab")),
    ],
)
def test_a_url_names_an_address(url: str, expected: Address) -> None:
    assert parse_address(url) == expected


@pytest.mark.parametrize(
    "url", ["http://host:7", "host:port", "host:99999", "grpc://", "host:7/path", "me@host:7", "file:"]
)
def test_what_is_no_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_address(url)
    assert repr(url) in str(caught.value)
    assert caught.value.details["field"] == "url"


def test_the_argument_goes_before_the_environment_and_that_before_the_settings(tmp_path: Path) -> None:
    def found(url: str | None, environment: dict[str, str]) -> str:
        return find_address(url, environment=environment, config_folder=tmp_path).target

    assert found(None, {}) == "localhost:50051"
    (tmp_path / "client.toml").write_text('url = "settings:1"\n')
    assert found(None, {}) == "settings:1"
    assert found(None, {"MEASURAND_URL": "environment:1"}) == "environment:1"
    assert found("argument:1", {"MEASURAND_URL": "environment:1"}) == "argument:1"


def test_token_and_tls_come_from_the_same_places(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text('token = "mst_1"\ntls = "/etc/ca.pem"\n')
    settings = find_address("host:1", environment={}, config_folder=tmp_path)
    assert (settings.token, settings.tls) == ("mst_1", "/etc/ca.pem")
    environment = {"MEASURAND_TOKEN": "mst_2", "MEASURAND_TLS": "true"}
    assert find_address("host:1", environment=environment, config_folder=tmp_path).tls is True
    given = find_address("host:1", token="mst_3", tls=False, environment=environment, config_folder=tmp_path)
    assert (given.token, given.tls) == ("mst_3", False)


def test_a_token_is_not_shown() -> None:
    assert "mst_" not in repr(Address("host:1", token="mst_secret"))


@pytest.mark.parametrize("text", ['adress = "host:1"', "url ="])
def test_a_wrong_settings_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "client.toml").write_text(text)
    with pytest.raises(InvalidArgument, match=r"client\.toml"):
        find_address(None, environment={}, config_folder=tmp_path)
