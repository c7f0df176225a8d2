"""Places in S3 servers for the suite of the port, and what is at hand to run it against."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError
from tests.seaweed import free_ports, make_client, s3_url, shared_seaweed

from measurand.core.ports import BlobStore
from measurand.storage.blobs.s3 import S3, parse_location

__all__ = ["InS3", "Server", "minio_at_hand", "on_minio", "on_seaweed"]

BUCKET = "conformance"
START_SECONDS = 60.0


class Server:
    """An S3 server that is there, and somebody who may do everything in it."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.endpoint = endpoint
        self.keys = ReadOnlyCredentials(access_key, secret_key, None)
        self.client = make_client(endpoint, access_key, secret_key)
        with suppress(self.client.exceptions.BucketAlreadyExists, self.client.exceptions.BucketAlreadyOwnedByYou):
            self.client.create_bucket(Bucket=BUCKET)


class InS3:
    """A prefix of its own, looked at with botocore."""

    def __init__(self, server: Server, wrap: Callable[[BlobStore], BlobStore] = lambda inner: inner) -> None:
        self.server = server
        self.prefix = f"test/{uuid.uuid4().hex}"
        self._wrap = wrap
        self._client = server.client

    def open(self) -> BlobStore:
        return self._wrap(self.open_s3())

    def open_s3(self) -> S3:
        location = parse_location(s3_url(self.server.endpoint, BUCKET, self.prefix))
        return S3(location, in_thread=asyncio.to_thread, get_keys=lambda: self.server.keys)

    def look(self) -> dict[str, bytes]:
        names = self.names("blobs/")
        return {
            name.replace("~", "/"): self._client.get_object(Bucket=BUCKET, Key=f"{self.prefix}/blobs/{name}")[
                "Body"
            ].read()
            for name in names
        }

    def leftovers(self) -> int:
        staged = {name.partition("!")[0] for name in self.names("staging/")}
        return len(staged | {name for name, _ in self.uploads()})

    def damage(self, key: str, content: bytes) -> None:
        name = f"{self.prefix}/blobs/{key.replace('/', '~')}"
        self._client.put_object(Bucket=BUCKET, Key=name, Body=content)

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder of the place. Written down once more on purpose."""
        found = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/{folder}")
        return [
            each["Key"].removeprefix(f"{self.prefix}/{folder}") for page in found for each in page.get("Contents", [])
        ]

    def uploads(self) -> list[tuple[str, str]]:
        """Return the multipart uploads that are open: to which name, and by which id."""
        found: Any = self._client.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{self.prefix}/blobs/")
        return [
            (each["Key"].removeprefix(f"{self.prefix}/blobs/"), each["UploadId"]) for each in found.get("Uploads", [])
        ]


@cache
def on_seaweed() -> Server:
    seaweed = shared_seaweed()
    return Server(seaweed.endpoint, seaweed.access_key, seaweed.secret_key)


def minio_at_hand() -> bool:
    """Tell whether there is an S3 server of another make: named by MEASURAND_TEST_S3, or a `minio` to start."""
    return "MEASURAND_TEST_S3" in os.environ or _minio() is not None


@cache
def on_minio() -> Server:
    """Return it. For a named one, the credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    endpoint = os.environ.get("MEASURAND_TEST_S3")
    if endpoint is not None:
        return Server(endpoint, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    folder = Path(tempfile.mkdtemp(prefix="minio-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [str(_minio()), "server", str(folder), "--address", f"127.0.0.1:{port}", "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"MINIO_ROOT_USER": "measurand", "MINIO_ROOT_PASSWORD": "measurand-secret", "HOME": str(folder)},
    )
    atexit.register(process.wait)
    atexit.register(process.kill)
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return Server(f"http://127.0.0.1:{port}", "measurand", "measurand-secret")
        except (BotoCoreError, ClientError):
            assert process.poll() is None and time.monotonic() < end, "minio does not start"
            time.sleep(0.05)


def _minio() -> Path | None:
    own = Path(__file__).resolve().parents[1] / ".tools" / "minio"
    found = shutil.which("minio")
    return own if own.is_file() else Path(found) if found else None
