"""A MongoDB of three members, of which one may go and the others elect another primary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pymongo.errors import PyMongoError
from tests.mongod import Mongod

__all__ = ["ReplicaSet", "start_replica_set"]

START_SECONDS = 60.0
ELECTION_MILLISECONDS = 2000


class Member(Mongod):
    """One of them, up when the constructor returns: which is primary is decided among them."""

    def _wait_until_primary(self) -> None:
        end = time.monotonic() + START_SECONDS
        with self.client() as client:
            while True:
                try:
                    client.admin.command("hello")
                except PyMongoError:
                    assert time.monotonic() < end, f"{self!r} does not start: {self.log}"
                    time.sleep(0.05)
                else:
                    return


class ReplicaSet:
    """Its members, whichever is primary. Made by `start_replica_set`."""

    def __init__(self, members: list[Member]) -> None:
        self._members = members
        hosts = [{"_id": number, "host": f"127.0.0.1:{member.port}"} for number, member in enumerate(members)]
        settings = {"electionTimeoutMillis": ELECTION_MILLISECONDS, "heartbeatIntervalMillis": 500}
        with members[0].client() as client:
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": hosts, "settings": settings})
        self.primary()

    def url_of(self, database: str) -> str:
        """Return the address of a database, by all members."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self._members)
        return f"mongodb://{hosts}/{database}?replicaSet=rs0"

    def primary(self, *, but: Member | None = None) -> Member:
        """Return the member that takes writes, as soon as there is one."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            for member in self._members:
                if member is not but and _is_primary(member):
                    return member
            time.sleep(0.1)
        raise AssertionError("there is no primary")


def _is_primary(member: Member) -> bool:
    with member.client(serverSelectionTimeoutMS=300, socketTimeoutMS=1000) as client:
        try:
            return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:  # it is down, or frozen
            return False


@contextmanager
def start_replica_set(folder: Path) -> Iterator[ReplicaSet]:
    """Start it, and end it afterwards."""
    with ExitStack() as ending:
        members = []
        for number in range(3):
            member = Member(folder / f"{number}", cache_gigabytes=0.25)
            ending.callback(member.kill)  # politely asked they would first look for a successor
            members.append(member)
        yield ReplicaSet(members)
