"""The sets of stores that tests run on: one suite, the same ids and the same results for each of them.

A test that takes the fixture `stores` runs once for each set. Which sets those are says the mark `stores`; without one
they are all sets for `tests/end_to_end`, and else the first that `DEFAULTS` has for its folder.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
    from tests.mongod import Mongod
    from tests.seaweed import Seaweed
    from tests.servers import Server

    from measurand.server.config import Config

__all__ = ["DURABLE", "EVERY", "Site", "fleet_options", "open_site", "sets_of"]

EVERY = ("memory", "embedded", "fleet")
"""Nothing kept; SQLite and a directory; MongoDB and SeaweedFS."""
DURABLE = ("embedded", "fleet")
"""What survives its servers."""
DEFAULTS = {"end_to_end": EVERY, "client": ("embedded",), "cli": ("embedded",)}
BUCKET = "tests"


def sets_of(folder: str, mark: pytest.Mark | None) -> tuple[str, ...]:
    """Return the sets on which a test of a folder of `tests` runs."""
    return tuple(mark.args) if mark is not None else DEFAULTS.get(folder, ("memory",))


@dataclass(frozen=True, slots=True)
class Site:
    """Stores of a test's own, and how servers are told of them.

    Parameters
    ----------
    kind : str
        Which set it is.
    folder : Path
        The data folder of its servers; for `embedded` what they keep, too.
    options : sequence of str
        What the command line of its servers says of the stores.
    environment : mapping
        What the variables say.
    """

    kind: str
    folder: Path
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def beside(self, folder: Path) -> Site:
        """Return the same stores for a server with a data folder of its own, as on another machine."""
        assert self.kind == "fleet", f"{self.kind}: the folder is the store"
        return replace(self, folder=folder)

    @contextmanager
    def running(self, *options: str) -> Iterator[Server]:
        """A server process for the time of the block."""
        from tests.servers import running

        with running(self.folder, *self.options, *options, environment=self.environment) as server:
            yield server

    def start(self, *options: str) -> Server:
        """Start a server process, and return when it serves."""
        from tests.servers import start

        return start(self.folder, *self.options, *options, environment=self.environment)

    def config(self, **settings: object) -> Config:
        """Return the settings of a server on a free port; the caller sees to the environment."""
        from tests.servers import free_config

        names = (option.removeprefix("--") for option in self.options[::2])
        return free_config(data=self.folder, **dict(zip(names, self.options[1::2], strict=True)), **settings)


@contextmanager
def open_site(kind: str, folder: Path) -> Iterator[Site]:
    """Give empty stores of one set; what they hold is gone afterwards."""
    if kind == "memory":
        yield Site(kind, folder, ("--documents", "memory:", "--blobs", "memory:"))
    elif kind == "embedded":
        yield Site(kind, folder)
    else:
        from tests.mongod import shared_mongod

        name = f"test-{uuid.uuid4().hex[:16]}"
        mongod, seaweed = shared_mongod(), _seaweed_with_bucket()
        try:
            yield Site(kind, folder, fleet_options(mongod, seaweed, name), seaweed.environment)
        finally:
            # A database has some tens of open files. What lies in the bucket goes with the folder of the S3 server.
            with mongod.client() as client:
                client.drop_database(name)


def fleet_options(mongod: Mongod, seaweed: Seaweed, name: str, *, bucket: str = BUCKET) -> tuple[str, ...]:
    """Return what tells a server of a database and a prefix of this name."""
    return ("--documents", mongod.url_of(name), "--blobs", seaweed.url_of(bucket, name))


@cache
def _seaweed_with_bucket() -> Seaweed:
    from tests.seaweed import shared_seaweed

    seaweed = shared_seaweed()
    seaweed.make_bucket(BUCKET)
    return seaweed
