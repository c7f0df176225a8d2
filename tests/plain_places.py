"""Places for plain layouts, and how others read them there: with zarr-python, past everything of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.request import url2pathname

from obstore.fsspec import FsspecStore
from obstore.store import S3Store
from tests.s3_places import BUCKET, InS3, Server, on_seaweed
from tests.seaweed import REGION
from zarr.abc.store import Store
from zarr.storage import FsspecStore as ZarrFsspecStore
from zarr.storage import LocalStore, ObjectStore

from measurand.core.arrays.plain_places import PlainPlace
from measurand.core.ports import BlobStore
from measurand.server.crc32c import make_crc32c
from measurand.storage.blobs.local import Local

__all__ = ["PLAIN_PLACES", "Bucket", "Folder", "MakePlainPlace", "PlainStore", "zarr_store"]


class PlainStore(Protocol):
    """A blob store with a place for plain layouts."""

    @property
    def blobs(self) -> BlobStore: ...

    @property
    def place(self) -> PlainPlace: ...

    def reader(self, url: str) -> Store:
        """Return what zarr-python reads the layout at a URL by."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """Return all that lies in the place, by its path below `sealed`."""
        ...


@dataclass
class Folder:
    root: Path

    def __post_init__(self) -> None:
        self.blobs = Local(self.root, in_thread=asyncio.to_thread)
        self.place = self.blobs.plain(make_crc32c())

    def reader(self, url: str) -> Store:
        return zarr_store(url)

    def files(self) -> Mapping[str, bytes]:
        sealed = self.root / "sealed"
        return {str(path.relative_to(sealed)): path.read_bytes() for path in sealed.rglob("*") if path.is_file()}


class Bucket:
    def __init__(self, server: Server) -> None:
        self.inner = InS3(server)
        self.blobs = self.inner.open_s3()
        self.place = self.blobs.plain(make_crc32c())

    def reader(self, url: str) -> Store:
        return zarr_store(url, self.inner.server)

    def files(self) -> Mapping[str, bytes]:
        names = self.inner.names("sealed/")
        return {name: self.get(f"{self.inner.prefix}/sealed/{name}") for name in names}

    def get(self, name: str) -> bytes:
        content: bytes = self.inner.server.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        return content


def zarr_store(url: str, server: Server | None = None) -> Store:
    """Return a store of zarr-python over a layout: a group in a folder or a bucket, or a reference file."""
    scheme, _, path = url.partition("://")
    if scheme == "file":
        return LocalStore(url2pathname(path), read_only=True)
    assert scheme == "s3" and server is not None
    bucket, _, key = path.partition("/")
    access = {"access_key_id": server.keys.access_key, "secret_access_key": server.keys.secret_key}
    where = {"endpoint": server.endpoint, "region": REGION, "virtual_hosted_style_request": False}
    options: Any = {**where, **access, "client_options": {"allow_http": True}}
    if not url.endswith(".json"):
        return ObjectStore(S3Store(bucket, prefix=key, **options), read_only=True)
    from fsspec.implementations.reference import ReferenceFileSystem

    content = json.loads(server.client.get_object(Bucket=bucket, Key=key)["Body"].read())
    remote = FsspecStore("s3", asynchronous=True, **options)
    files = ReferenceFileSystem(content, fs=remote, asynchronous=True, skip_instance_cache=True)
    return ZarrFsspecStore(files, read_only=True, path="")


MakePlainPlace = Callable[[Path], PlainStore]

PLAIN_PLACES: Mapping[str, MakePlainPlace] = {
    "folder": lambda folder: Folder(folder / "store"),
    "bucket": lambda _: Bucket(on_seaweed()),
}
