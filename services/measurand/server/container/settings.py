"""What a process that serves one container is told on its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from measurand.core.names import check_id
from measurand.server.config import Address, ConfigError, parse_address
from measurand.server.units import parse_size
from measurand.wire.errors import NameInvalid

__all__ = ["Settings", "settings_of"]

PORT = 50051


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one container.

    Parameters
    ----------
    servers : sequence of str
        `host:port` of servers to register at; one of them must answer.
    folder : Path
        Where its blobs lie.
    advertise : Address
        Where servers reach it; port 0: the one that it listens on.
    name : str
        Its id.
    """

    servers: Sequence[str]
    folder: Path
    listen: Address
    advertise: Address
    name: str
    title: str = ""
    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    max_bytes: int = 0
    http: Address | None = None
    grace_seconds: float = 30.0


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Return the settings that options make. Raises ConfigError."""
    folder = Path(given["data"]).expanduser().absolute()
    listen = _address("--listen", given["listen"])
    if not (listen.is_loopback or given["insecure"]):
        raise ConfigError(
            f"--listen {listen}: anybody who reaches this address could read, change and delete what the container "
            "holds. Listen on 127.0.0.1, or add --insecure if the network itself is closed to others"
        )
    advertise = listen if given["advertise"] is None else _address("--advertise", given["advertise"])
    if advertise.host in ("0.0.0.0", "::"):  # noqa: S104  # it is refused
        raise ConfigError(f"--listen {listen}: others cannot call {advertise.host}; say --advertise HOST:PORT as well")
    return Settings(
        servers=[_server(url) for url in given["servers"]],
        folder=folder,
        listen=listen,
        advertise=advertise,
        name=_name(given["name"] or folder.name.lower()),
        title=given["title"],
        zone=given["zone"],
        labels=dict(map(_label, given["labels"])),
        weight=given["weight"],
        max_bytes=_size(given["max_bytes"]),
        http=None if given["http"] == "off" else _address("--http", given["http"]),
    )


def _address(option: str, text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise ConfigError(f"--max-bytes {text}: write a number of bytes, or 500GiB") from None


def _name(text: str) -> str:
    try:
        return check_id(text, field="--name")
    except NameInvalid as error:
        raise ConfigError(error.message) from None


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--label {text}: write it as KEY=VALUE")
    return key, value


def _server(url: str) -> str:
    scheme, _, rest = url.partition("://") if "://" in url else ("grpc", "", url)
    parts = urlsplit(f"//{rest}")
    try:
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        host, port = None, 0
    if scheme != "grpc" or not host or parts.path not in ("", "/"):
        raise ConfigError(f"--of {url}: write the address of a server, such as grpc://HOST:{PORT}")
    return str(Address(host, port))
