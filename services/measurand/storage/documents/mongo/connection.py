"""The way to a deployment of MongoDB: what its URL may say, what it must be, and changing over to a new connection."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import pymongo
from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    ConfigurationError,
    InvalidURI,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.read_concern import ReadConcern

from measurand.storage.documents.mongo.faults import brief, translate
from measurand.storage.documents.mongo.records import CODEC
from measurand.storage.documents.mongo.selection import Records
from measurand.storage.documents.mongo.waiting import make_waits_cancellable
from measurand.wire.errors import FailedPrecondition, InvalidArgument, MeasurandError, Unavailable

__all__ = ["Connection", "name_of"]

DATABASE = "measurand"
OLDEST_RELEASE, OLDEST_WIRE_VERSION = "6.0", 17

_SELECTION_SECONDS = 5.0
_SHARDS_APART_SECONDS = 10
_FIXED: Mapping[str, str] = {
    "w": "majority",
    "journal": "true",
    "readconcernlevel": "majority",
    "readpreference": "primary",
    "retrywrites": "true",
    "retryreads": "true",
}
"""What writes and reads are durable by. A URL may say so, and nothing else."""
_REFUSED = {"j", "fsync", "wtimeoutms", "wtimeout", "readpreferencetags", "maxstalenessseconds", "slaveok", "safe"}


class Connection:
    """A client of a deployment, and the database in it. Made by `open`."""

    def __init__(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        self._client = client
        self._users = 0
        self._unused = asyncio.Event()
        self.is_retired = False
        self.database: AsyncDatabase[dict[str, Any]] = client.get_default_database(
            DATABASE,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority"),
        )
        self._collections: dict[str, Records] = {}

    @classmethod
    async def open(cls, url: str, *, timeout_seconds: float) -> Connection:
        """Connect, and look whether the deployment is one to stand on.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: the URL is malformed, names a file that is not there, or would make writes less durable.
        FailedPrecondition
            STATE_WRONG: no replica set, or too old.
        PermissionDenied
            PERMISSION_DENIED: the user is not let in.
        Unavailable
            STORE_UNAVAILABLE: nobody answers.
        """
        name = name_of(url)
        _check(url, name)
        make_waits_cancellable()
        defaults = {
            "appname": "measurand",
            "serverMonitoringMode": "poll",  # half as many connections; a change of the primary is told by what fails
            "connectTimeoutMS": round(_SELECTION_SECONDS * 1000),
            "timeoutMS": round(timeout_seconds * 1000),
        }
        said = {option.lower() for option, _ in _options(url)}
        options: dict[str, Any] = {key: value for key, value in defaults.items() if key.lower() not in said}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what the driver does not know it would pass over
                client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, **options)
                opened = cls(client)
        except (PyMongoError, ValueError, TypeError, OSError, UserWarning) as error:
            raise _of_url(error, url, name) from error
        try:
            with pymongo.timeout(min(_SELECTION_SECONDS, timeout_seconds)):
                hello = await opened.hello()
            _check_deployment(hello, name)
        except PyMongoError as error:
            await client.close()
            raise _of_opening(error, name) from error
        except BaseException:
            await client.close()
            raise
        return opened

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """Keep it open for the time of the block."""
        self._users += 1
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    def records(self, collection: str) -> Records:
        """Return a collection."""
        found = self._collections.get(collection)
        if found is None:
            found = self._collections[collection] = self.database[collection]
        return found

    async def hello(self) -> Mapping[str, Any]:
        """Return what the primary, or a router, says of itself and its deployment."""
        return await self._client.admin.command("hello")

    async def settled_time(self, collection: str) -> Timestamp:
        """Return a time up to which a majority has all writes. What is confirmed by then is not later, and what is not
        later is seen by all reads.
        """
        last = (await self.hello()).get("lastWrite")
        if last is not None:
            time = last["majorityOpTime"]["ts"]
            assert isinstance(time, Timestamp)
            return time
        # A router tells of a read how far the shards were, and some may have been behind that.
        async with self._client.start_session() as session:
            await self.records(collection).find_one({}, {"_id": 1}, session=session)
            assert session.operation_time is not None
            return Timestamp(session.operation_time.time - _SHARDS_APART_SECONDS, 0)

    async def retire(self) -> None:
        """Close it as soon as nobody uses it."""
        self.is_retired = True
        while self._users:
            self._unused.clear()
            await self._unused.wait()
        await self._client.close()


def name_of(url: str) -> str:
    """Return the hosts and the database of a URL, without user and password."""
    text = url.partition("://")[2].partition("?")[0]
    authority, _, database = text.partition("/")
    if "@" in url and "@" not in authority:
        return "MongoDB"  # a part of the password may stand anywhere
    return f"MongoDB at {authority.rpartition('@')[2]}/{database or DATABASE}"


def _options(url: str) -> list[tuple[str, str]]:
    return parse_qsl(url.partition("?")[2].replace(";", "&"), keep_blank_values=True)


def _check(url: str, name: str) -> None:
    for option, value in _options(url):
        key = option.lower()
        fixed = _FIXED.get(key)
        if key in _REFUSED or (fixed is not None and value.lower() != fixed):
            raise InvalidArgument(
                f"{name}: take {option}={value} out of the URL; writes are confirmed by a majority and journaled, and "
                "reads see nothing less, so that what was acknowledged is never lost",
                field=option,
            )


def _check_deployment(hello: Mapping[str, Any], name: str) -> None:
    is_router = hello.get("msg") == "isdbgrid"
    if not is_router and "setName" not in hello:
        raise FailedPrecondition(
            f"{name}: this is a standalone mongod, which keeps no history that changes can be read from; start mongod "
            "with --replSet rs0, run rs.initiate() in it once, and add ?replicaSet=rs0 to the URL",
            state="standalone",
        )
    if hello.get("maxWireVersion", 0) < OLDEST_WIRE_VERSION:
        raise FailedPrecondition(f"{name}: needs MongoDB {OLDEST_RELEASE} or newer; this one is older", state="old")


def _of_url(error: Exception, url: str, name: str) -> MeasurandError:
    if isinstance(error, (OSError, ConfigurationError)) and not isinstance(error, InvalidURI):
        return InvalidArgument(f"{name}: the URL asks for what cannot be done ({error})", field="url")
    # What the driver says may repeat what it did not understand, which may be a part of the password.
    said = "" if "@" in url else f" ({error})"
    return InvalidArgument(
        f"{name}: the URL is malformed{said}; it looks like mongodb://user:password@host:27017/measurand?replicaSet=rs0"
        ", with / : @ ? # % in user and password percent-encoded",
        field="url",
    )


def _of_opening(error: PyMongoError, name: str) -> MeasurandError:
    text = brief(error)
    if isinstance(error, ConfigurationError):
        return InvalidArgument(f"{name}: the URL asks for what cannot be done ({text})", field="url")
    if isinstance(error, ServerSelectionTimeoutError):
        options = "see tls, tlsCAFile and tlsCertificateKeyFile in the URL"
        if "SSL" in text or "certificate" in text:
            return Unavailable(f"{name}: no secure connection came about ({text}); {options}", store=name)
        if "closed" in text or "reset" in text:
            return Unavailable(
                f"{name}: MongoDB hangs up ({text}); it may want TLS, or a certificate, of an authority that it knows; "
                f"{options}",
                store=name,
            )
    return translate(error, name)
