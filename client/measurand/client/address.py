"""Finds the server: the argument, then MEASURAND_URL, then client.toml, then localhost:50051."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from platformdirs import user_config_path

from measurand.wire.errors import InvalidArgument

__all__ = ["DEFAULT", "Address", "find_address", "parse_address"]

DEFAULT = "localhost:50051"
PORT = 50051
REGISTERED = "measurand://"
_SETTINGS = ("url", "token", "tls")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how to speak to it.

    Parameters
    ----------
    target : str
        `host:port`; empty for a private server.
    tls : bool or str
        Speak TLS; a str is the file with the certificates to trust, instead of the system's.
    token : str
        Sent with every call.
    private : str
        `memory` or `file` for a server that is started for this client and its neighbours.
    folder : str
        The data folder of a private server.
    registered : str
        `kind/name` of what is to be found in a registry; the target is then what stands there.
    registry : Address, optional
        Where that registry is.
    """

    target: str
    tls: bool | str = False
    token: str = field(default="", repr=False)
    private: str = ""
    folder: str = ""
    registered: str = ""
    registry: Address | None = None

    def __str__(self) -> str:
        if self.registered:
            return f"{REGISTERED}{self.registered}"
        if self.private == "memory":
            return "memory:"
        return Path(self.folder).as_uri() if self.private else self.target


def find_address(
    url: str | None,
    *,
    token: str | None = None,
    tls: bool | str | None = None,
    environment: Mapping[str, str] = os.environ,
    config_folder: Path | None = None,
) -> Address:
    """Return the address that an argument, the environment or the settings file names, in this order.

    Parameters
    ----------
    url : str, optional
        `host:port`, `grpc://host:port`, `grpcs://host:port` (TLS), `file:///folder`, `memory:`, or
        `measurand://kind/name` for what is registered under that name at the server that the environment or the
        settings name.
    token, tls : optional
        As in `Address`; they go before what stands elsewhere.
    environment : mapping
        MEASURAND_URL, MEASURAND_TOKEN and MEASURAND_TLS are looked up in it.
    config_folder : Path, optional
        Where `client.toml` lies; the platform's place for settings unless given.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: the address or a setting makes no sense; the text names it.
    """
    settings = _read_settings((config_folder or user_config_path("measurand")) / "client.toml")
    url = url or environment.get("MEASURAND_URL") or str(settings.get("url") or DEFAULT)
    token = token if token is not None else environment.get("MEASURAND_TOKEN") or str(settings.get("token") or "")
    if tls is None:
        named = str(environment.get("MEASURAND_TLS") or settings.get("tls") or "")
        tls = {"": None, "1": True, "true": True, "0": False, "false": False}.get(named.lower(), named)
    if url.startswith(REGISTERED):
        named = str(environment.get("MEASURAND_URL") or settings.get("url") or DEFAULT)
        registry = parse_address(named)
        registry = replace(registry, token=token, tls=registry.tls if tls is None else tls)
        return Address("", tls=tls or False, token=token, registered=_registered(url), registry=registry)
    address = parse_address(url)
    return Address(
        target=address.target,
        tls=address.tls if tls is None else tls,
        token=token,
        private=address.private,
        folder=address.folder,
    )


def parse_address(url: str) -> Address:
    """Return the address that a URL names, or raise InvalidArgument."""
    if url in ("memory:", "memory://"):
        return Address("", private="memory")
    if url.startswith("file:"):
        path = unquote(urlsplit(url).path)
        if os.name == "nt":  # `file:///C:/data` has a slash before the drive
            path = path.lstrip("/")
        if not path:
            raise _fault(url, "name a folder, as in file:///data")
        return Address("", private="file", folder=str(Path(path).absolute()))
    scheme, _, rest = url.partition("://") if "://" in url else ("grpc", "", url)
    if scheme not in ("grpc", "grpcs"):
        raise _fault(url, "use host:port, grpc://, grpcs://, file:/// or memory:")
    parts = urlsplit(f"//{rest}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _fault(url, "the port must be a number up to 65535") from None
    if not host or parts.path not in ("", "/") or parts.username is not None:
        raise _fault(url, "use host:port")
    shown = f"[{host}]" if ":" in host else host
    return Address(f"{shown}:{PORT if port is None else port}", tls=scheme == "grpcs")


def _registered(url: str) -> str:
    kind, slash, name = url.removeprefix(REGISTERED).rstrip("/").partition("/")
    if not kind or not slash or not name or "/" in name:
        raise _fault(url, f"name what is registered, as in {REGISTERED}gateway/site-a")
    return f"{kind}/{name}"


def _read_settings(path: Path) -> dict[str, object]:
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"{path}: {error}; mend the file or remove it", field="client.toml") from None
    for key in settings:
        if key not in _SETTINGS:
            known = ", ".join(_SETTINGS)
            raise InvalidArgument(f"{path}: there is no setting `{key}`; there are {known}", field=key)
    return settings


def _fault(url: str, advice: str) -> InvalidArgument:
    return InvalidArgument(f"{url!r} is no address of a server; {advice}", field="url", url=url)
