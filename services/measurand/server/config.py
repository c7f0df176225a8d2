"""What can be set: by flags, by `MEASURAND_*` variables, by `measurand.toml`; the former win.

`docs/measurand.toml` shows every setting. A key that does not exist is an error that names it: a setting that is
silently not made is worse.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

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
from measurand.core.placement.policies import parse_policy
from measurand.server.units import as_duration, as_size
from measurand.wire.errors import InvalidArgument

__all__ = [
    "BLOB_KINDS",
    "DOCUMENT_KINDS",
    "Address",
    "Config",
    "ConfigError",
    "Place",
    "load",
    "parse_address",
    "parse_place",
]

PREFIX = "MEASURAND_"
OF_THE_CLIENT = ("URL", "TOKEN", "TLS", "TIMEOUT", "CLIENT_", "TEST_", "BENCH_")
"""`MEASURAND_URL` and whatever else the client, the tests and the benchmarks read: not the server's to complain of."""

_PASSWORD = re.compile(r"(//[^/:@]*):[^@]*@")


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
        `memory`, `sqlite`, `file`, `mongodb`, `s3`, or `containers` for those that documents tell of.
    path : Path, optional
        The file or the folder, for those that have one.
    url : str
        The whole URL, for those that are reached over the network. May hold a password: show `str` of the place.
    """

    kind: str
    path: Path | None = None
    url: str = field(default="", repr=False)

    @property
    def is_shared(self) -> bool:
        """Servers on several machines can use it together."""
        return bool(self.url)

    @property
    def written(self) -> str:
        """As it is written in settings, password and all."""
        return self.url or (f"{self.kind}://{quote(str(self.path))}" if self.path else f"{self.kind}:")

    def __str__(self) -> str:
        if self.url:
            return _PASSWORD.sub(r"\1:…@", self.url)
        return f"{self.kind}://{self.path}" if self.path else f"{self.kind}:"


def _own_folder() -> Path:
    return platformdirs.user_data_path("measurand", appauthor=False)


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def parse_address(text: str) -> Address:
    """Return what `HOST:PORT` names. Raises ValueError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:50051; port 0 is any free one")
    return Address(host, int(port))


def _address(value: object) -> object:
    return parse_address(value) if isinstance(value, str) else value


def _advertised(value: object) -> object:
    return value if value in ("auto", "off") else _address(value)


def _address_or_off(value: object) -> object:
    return None if value in (None, "off") else _address(value)


_FORMS = {
    "memory": "memory:",
    "sqlite": "sqlite:///FOLDER/FILE",
    "file": "file:///FOLDER",
    "mongodb": "mongodb://HOST,HOST/DATABASE?replicaSet=NAME",
    "s3": "s3://BUCKET/PREFIX?endpoint=http://HOST:PORT",
    "containers": "containers:",
}
_SCHEMES = {"mongodb+srv": "mongodb"}
_ON_NETWORK = ("mongodb", "s3")
_WITHOUT_PATH = ("memory", "containers")


def parse_place(value: str, *kinds: str) -> Place:
    """Return the place that a URL names, or raise ValueError with the forms that there are."""
    refused = f"is not of the form {' or '.join(_FORMS[kind] for kind in kinds)}"
    try:
        url = urlsplit(value)
    except ValueError:
        raise ValueError(f"it {refused}") from None
    kind = _SCHEMES.get(url.scheme, url.scheme)
    if kind in kinds and kind in _ON_NETWORK:
        if not url.netloc:
            raise ValueError(f"{Place(kind, url=value)} {refused}")
        return Place(kind, url=value)
    has_path = url.path.startswith("/")
    if kind not in kinds or url.netloc or url.query or has_path == (kind in _WITHOUT_PATH):
        raise ValueError(f"{_PASSWORD.sub('', value)!r} {refused}")
    return Place(kind, Path(unquote(url.path)) if has_path else None)


def _place(*kinds: str) -> BeforeValidator:
    return BeforeValidator(lambda value: parse_place(value, *kinds) if isinstance(value, str) else value)


DOCUMENT_KINDS = ("sqlite", "mongodb", "memory")
BLOB_KINDS = ("file", "s3", "memory")
SERVED_BLOB_KINDS = (*BLOB_KINDS, "containers")
"""Where a server can keep blobs: `containers:` has no place of its own."""


def _duration_or_off(value: object) -> object:
    return timedelta(0) if value == "off" else as_duration(value)


Duration = Annotated[timedelta, BeforeValidator(as_duration), Field(gt=timedelta(0))]
Size = Annotated[int, BeforeValidator(as_size), Field(ge=0)]


def _collector(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError(f"{value!r} is no URL of a collector, such as http://collector:4318")
    return value


def _storage(value: str) -> str:
    try:
        parse_policy(value)
    except InvalidArgument as error:
        raise ValueError(error.message) from None
    return value


class LimitSettings(BaseModel):
    """The limits that an operator may set; the rest is part of the contract."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    upload_lifetime: Duration = timedelta(hours=24)
    undelete_window: Duration = timedelta(days=30)
    blob_grace: Duration = timedelta(hours=1)
    repair_delay: Annotated[timedelta, BeforeValidator(as_duration), Field(ge=timedelta(0))] = timedelta(minutes=15)
    repair_bytes: Size = 0
    scrub_interval: Annotated[timedelta, BeforeValidator(_duration_or_off), Field(ge=timedelta(0))] = timedelta(days=30)

    def make(self) -> Limits:
        """Return the limits of core."""
        return Limits(**self.model_dump())


class TracingSettings(BaseModel):
    """Where traces go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Annotated[str, AfterValidator(_collector)] = ""


_SECTIONS: Mapping[str, type[BaseModel]] = {"limits": LimitSettings, "tracing": TracingSettings}


class Config(BaseSettings):
    """The settings of one server."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, arbitrary_types_allowed=True
    )

    data: Annotated[Path, AfterValidator(_absolute)] = Field(default_factory=_own_folder)
    listen: Annotated[Address, NoDecode, BeforeValidator(_address)] = Address("127.0.0.1", 50051)
    http: Annotated[Address | None, NoDecode, BeforeValidator(_address_or_off)] = Address("127.0.0.1", 8051)
    advertise: Annotated[Address | Literal["auto", "off"], NoDecode, BeforeValidator(_advertised)] = "auto"
    workers: int = Field(default=1, ge=1, le=64)
    documents: Annotated[Place | None, NoDecode, _place(*DOCUMENT_KINDS)] = None
    blobs: Annotated[Place | None, NoDecode, _place(*SERVED_BLOB_KINDS)] = None
    containers: int = Field(default=0, ge=0, le=100)
    storage: Annotated[str, AfterValidator(_storage)] = "losses:2"
    cache_bytes: Size = 0
    direct_reads: Annotated[timedelta, BeforeValidator(_duration_or_off), Field(ge=timedelta(0))] = timedelta(0)
    insecure: bool = False
    private: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    grace_seconds: float = Field(default=30.0, ge=0)
    unary_seconds: float = Field(default=300.0, gt=0)
    max_calls: int = Field(default=1000, ge=1)
    max_streams_per_connection: int = Field(default=200, ge=1)
    limits: LimitSettings = LimitSettings()
    tracing: TracingSettings = TracingSettings()

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
        if self.blobs is None and self.containers:
            return Place("containers")
        return self.blobs or Place("file", self.data)

    @property
    def is_on_network(self) -> bool:
        """A store is reached over the network, or is on disks of its own, and may be away while the server runs."""
        return self.documents_place.is_shared or self.blobs_place.is_shared or self.blobs_place.kind == "containers"

    @property
    def uses_folder(self) -> bool:
        """Something is kept in the data folder."""
        return self.documents is None or self.containers > 0 or (self.blobs is None and self.blobs_place.kind == "file")


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
    if config.containers and config.documents_place.kind == "memory":
        raise ConfigError(
            "--containers: they hold parts of blobs that only the documents can put together; keep the documents"
        )
    if config.containers and config.blobs_place.kind != "containers":
        raise ConfigError(
            f"--containers: everything is to go into them, and --blobs {config.blobs_place} says it goes there; "
            f"leave one of them out, or add containers to a running server with `measurand container add`"
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
        if word not in known and not word.startswith(tuple(f"{name.upper()}__" for name in _SECTIONS)):
            raise ConfigError(f"{name}: there is no such setting; there are {_listed(known)}")


def _sentence(fault: Mapping[str, Any], flags: Mapping[str, Any], file: Path | None) -> str:
    where = [str(part) for part in fault["loc"]]
    key = where[0]
    if fault["type"] == "extra_forbidden":
        known = _SECTIONS.get(key, Config).model_fields
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
