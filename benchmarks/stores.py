"""The stores of laboratories for the rows that want them: one mongod and one S3 server for a run, shared by all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ["MONGOD", "S3", "fleet_options", "s3_access", "started"]

MONGOD = "BENCHMARK_MONGOD"
"""The variable with the address of the mongod, in which `{}` stands for the database."""
S3 = "BENCHMARK_S3"
"""The variable with endpoint and keys of the S3 server, as JSON."""
BUCKET = "benchmarks"


@contextmanager
def started(folder: Path, needs: Sequence[str]) -> Iterator[None]:
    """Run what the rows need, for the time of the block, and tell the contenders by variables."""
    with ExitStack() as stack:
        if "mongod" in needs:
            from tests.mongod import Mongod

            mongod = Mongod(folder / "mongod", cache_gigabytes=4)  # holds the indexes of a million
            stack.callback(mongod.stop)
            os.environ[MONGOD] = mongod.url_of("{}")
        if "s3" in needs:
            from tests.seaweed import Seaweed

            seaweed = Seaweed(folder / "seaweed")
            stack.callback(seaweed.stop)
            seaweed.make_bucket(BUCKET)
            access = {"endpoint": seaweed.endpoint, "key": seaweed.access_key, "secret": seaweed.secret_key}
            os.environ[S3] = json.dumps(access)
        yield


def s3_access() -> Mapping[str, str]:
    """Return `endpoint`, `key` and `secret` of the S3 server."""
    access: dict[str, str] = json.loads(os.environ[S3])
    return access


def fleet_options(documents: str | None = None, blobs: str | None = None) -> tuple[list[str], dict[str, str]]:
    """Return options and environment of a server over a database and a prefix of the shared stores.

    Parameters
    ----------
    documents : str, optional
        Name of the database. None: the server keeps its documents in its folder.
    blobs : str, optional
        The prefix; "" makes a new one. None: the server keeps its blobs in its folder.
    """
    options: list[str] = []
    environment: dict[str, str] = {}
    if documents is not None:
        options += ["--documents", os.environ[MONGOD].format(documents or f"b{uuid4().hex}")]
    if blobs is not None:
        access = s3_access()
        url = f"s3://{BUCKET}/{blobs or uuid4().hex}?endpoint={access['endpoint']}&region=us-east-1"
        options += ["--blobs", url]
        environment = {"AWS_ACCESS_KEY_ID": access["key"], "AWS_SECRET_ACCESS_KEY": access["secret"]}
    return options, environment
