"""What lies in a blob store, looked at and damaged behind the server's back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.seaweed import make_client
from tests.stores import Site

__all__ = ["flip", "holders", "remove"]


def holders(site: Site, piece: bytes) -> list[tuple[str, int]]:
    """Return the keys of the blobs that hold these bytes, and where in them they begin."""
    with closing(_rest(site)) as rest:
        found = ((key, content.find(piece)) for key, content in rest.contents())
        return [(key, position) for key, position in found if position >= 0]


def flip(site: Site, key: str, position: int) -> None:
    """Flip one bit."""

    def change(content: bytearray) -> None:
        content[position] ^= 0x10

    with closing(_rest(site)) as rest:
        rest.change(key, change)


def remove(site: Site, key: str) -> None:
    """Take a blob away."""
    with closing(_rest(site)) as rest:
        rest.remove(key)


class _Folder:
    """The files of a directory store."""

    def __init__(self, site: Site) -> None:
        self._root = site.folder / "blobs"

    def contents(self) -> Iterator[tuple[str, bytes]]:
        for path in self._root.rglob("*"):
            if path.is_file():
                with suppress(FileNotFoundError):  # it was collected just now
                    yield str(path), path.read_bytes()

    def change(self, key: str, change: Callable[[bytearray], None]) -> None:
        path = self._root / key
        content = bytearray(path.read_bytes())
        change(content)
        path.chmod(0o600)
        path.write_bytes(content)

    def remove(self, key: str) -> None:
        (self._root / key).unlink()

    def close(self) -> None:
        pass


class _Bucket:
    """The objects below a prefix."""

    def __init__(self, site: Site) -> None:
        url = urlsplit(site.options[site.options.index("--blobs") + 1])
        keys = site.environment["AWS_ACCESS_KEY_ID"], site.environment["AWS_SECRET_ACCESS_KEY"]
        self._client: Any = make_client(parse_qs(url.query)["endpoint"][0], *keys)
        self._bucket, self._prefix = url.netloc, url.path.lstrip("/")

    def contents(self) -> Iterator[tuple[str, bytes]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        for page in pages:
            for item in page.get("Contents", []):
                with suppress(self._client.exceptions.NoSuchKey):  # as above
                    yield item["Key"], self._get(item["Key"])

    def change(self, key: str, change: Callable[[bytearray], None]) -> None:
        content = bytearray(self._get(key))
        change(content)
        self._client.put_object(Bucket=self._bucket, Key=key, Body=bytes(content))

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)

    def close(self) -> None:
        self._client.close()

    def _get(self, key: str) -> bytes:
        with closing(self._client.get_object(Bucket=self._bucket, Key=key)["Body"]) as body:
            return bytes(body.read())


def _rest(site: Site) -> _Folder | _Bucket:
    return _Bucket(site) if site.kind == "fleet" else _Folder(site)
