"""What can be set: by flags, by `MEASURAND_*` variables, by `measurand.toml`; the former win.

`docs/measurand.toml` shows every setting. A key that does not exist is an error that names it: a setting that is
silently not made is worse.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import platformdirs
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from measurand.core.limits import Limits

__all__ = ["Address", "Config", "ConfigError", "Place", "load"]

PREFIX = "MEASURAND_"
OF_THE_CLIENT = ("URL", "TOKEN", "TLS", "TIMEOUT", "CLIENT_", "TEST_", "BENCH_")
"""`MEASURAND_URL` and whatever else the client, the tests and the benchmarks read: not the server's to complain of."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class ConfigError(Exception):
    """A setting is wrong. The message names it and says what to write."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0: any free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store keeps what it holds.

    Parameters
    ----------
    kind : str
        `memory`, `sqlite` or `file`: the scheme of its URL.
    path : Path, optional
        The file or the folder, for those that have one.
    """

    kind: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.kind}://{self.path}" if self.path else f"{self.kind}:"


def _own_folder() -> Path:
    return platformdirs.user_data_path("measurand", appauthor=False)


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _duration(value: object) -> object:
    """Take `24h` and `30d`, beside numbers of seconds."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else value


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, _, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{value!r} is no HOST:PORT, such as 127.0.0.1:50051; port 0 is any free one")
    return Address(host, int(port))


def _address_or_off(value: object) -> object:
    return None if value in (None, "off") else _address(value)


def _place(*kinds: str) -> BeforeValidator:
    forms = {"memory": "memory:", "sqlite": "sqlite:///FOLDER/FILE", "file": "file:///FOLDER"}

    def check(value: object) -> object:
        if not isinstance(value, str):
            return value
        url = urlsplit(value)
        has_path = url.path.startswith("/")
        if url.scheme not in kinds or url.netloc or url.query or has_path == (url.scheme == "memory"):
            raise ValueError(f"{value!r} is not of the form {' or '.join(forms[kind] for kind in kinds)}")
        return Place(url.scheme, Path(unquote(url.path)) if has_path else None)

    return BeforeValidator(check)


Duration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0))]


class LimitSettings(BaseModel):
    """The limits that an operator may set; the rest is part of the contract."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    upload_lifetime: Duration = timedelta(hours=24)
    undelete_window: Duration = timedelta(days=30)
    blob_grace: Duration = timedelta(hours=1)

    def make(self) -> Limits:
        """Return the limits of core."""
        return Limits(**self.model_dump())


class Config(BaseSettings):
    """The settings of one server."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, arbitrary_types_allowed=True
    )

    data: Annotated[Path, AfterValidator(_absolute)] = Field(default_factory=_own_folder)
    listen: Annotated[Address, NoDecode, BeforeValidator(_address)] = Address("127.0.0.1", 50051)
    http: Annotated[Address | None, NoDecode, BeforeValidator(_address_or_off)] = Address("127.0.0.1", 8051)
    workers: int = Field(default=1, ge=1, le=64)
    documents: Annotated[Place | None, NoDecode, _place("sqlite", "memory")] = None
    blobs: Annotated[Place | None, NoDecode, _place("file", "memory")] = None
    insecure: bool = False
    private: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    grace_seconds: float = Field(default=30.0, ge=0)
    unary_seconds: float = Field(default=300.0, gt=0)
    max_calls: int = Field(default=1000, ge=1)
    max_streams_per_connection: int = Field(default=200, ge=1)
    limits: LimitSettings = LimitSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file; no `.env` and no secrets folder."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def documents_place(self) -> Place:
        """Where documents are kept: in the data folder unless said otherwise."""
        return self.documents or Place("sqlite", self.data / "documents.sqlite")

    @property
    def blobs_place(self) -> Place:
        """Where bytes are kept: in the data folder, or in memory when the documents that name them are there."""
        if self.blobs is None and self.documents_place.kind == "memory":
            return Place("memory")
        return self.blobs or Place("file", self.data)

    @property
    def uses_folder(self) -> bool:
        """Something is kept in the data folder."""
        return self.documents is None or (self.blobs is None and self.blobs_place.kind == "file")


def load(flags: Mapping[str, Any], file: Path | None = None) -> Config:
    """Return the settings, or raise ConfigError.

    Parameters
    ----------
    flags : mapping
        What was said on the command line; None: nothing was.
    file : Path, optional
        `measurand.toml`; else `MEASURAND_CONFIG` names it.
    """
    if file is None and (named := os.environ.get(f"{PREFIX}CONFIG")):
        file = Path(named)
    if file is not None and not file.is_file():
        raise ConfigError(f"--config {file}: there is no such file")
    _check_environment(os.environ)
    try:
        config = _with_file(file)(**{key: value for key, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(fault, flags, file) for fault in error.errors())) from error
    except ValueError as error:  # the file is no TOML
        raise ConfigError(f"{file or 'the environment'}: {error}") from error
    _check(config)
    return config


def _with_file(file: Path | None) -> type[Config]:
    if file is None:
        return Config

    class Filed(Config):
        model_config = SettingsConfigDict(toml_file=file)

    return Filed


def _check(config: Config) -> None:
    if not config.insecure:
        for name, address in ("listen", config.listen), ("http", config.http):
            if address is not None and not address.is_loopback:
                raise ConfigError(
                    f"--{name} {address}: anybody who reaches this address could read, change and delete everything. "
                    f"Listen on 127.0.0.1, or add --insecure if the network itself is closed to others"
                )
    if config.documents_place.kind == "memory" and config.blobs_place.kind != "memory":
        raise ConfigError(
            "--documents memory: forgets which blobs are whose; say --blobs memory: as well, or keep the documents"
        )
    if config.private and config.workers > 1:
        raise ConfigError("--workers: a private server is one process")
    if config.workers > 1 and "memory" in (config.documents_place.kind, config.blobs_place.kind):
        raise ConfigError("--workers: processes do not share memory; use one worker, or stores on disk")


def _check_environment(environment: Mapping[str, str]) -> None:
    known = {name.upper() for name in Config.model_fields} | {"CONFIG"}
    for name in environment:
        word = name.removeprefix(PREFIX)
        if word == name or word.startswith(OF_THE_CLIENT):
            continue
        if word not in known and not word.startswith("LIMITS__"):
            raise ConfigError(f"{name}: there is no such setting; there are {_listed(known)}")


def _sentence(fault: Mapping[str, Any], flags: Mapping[str, Any], file: Path | None) -> str:
    where = [str(part) for part in fault["loc"]]
    key = where[0]
    if fault["type"] == "extra_forbidden":
        known = LimitSettings.model_fields if key == "limits" else Config.model_fields
        return f"{'.'.join(where)}: there is no such setting; there are {_listed(known)}"
    variable = PREFIX + "__".join(where).upper()
    if flags.get(key) is not None:
        name = f"--{key.replace('_', '-')}"
    elif variable in os.environ:
        name = variable
    else:
        name = f"{file}: {'.'.join(where)}"
    return f"{name}: {str(fault['msg']).removeprefix('Value error, ')}"


def _listed(names: Mapping[str, object] | set[str]) -> str:
    return ", ".join(sorted(names))
