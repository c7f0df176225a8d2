"""Those who only look on while servers and stores die: a reader, somebody who watches, and at the end the doctor."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time

from tests.end_to_end.acting import CALL_SECONDS, CATALOG, digest_of
from tests.end_to_end.ledger import ABSENT, Account, Ledger
from tests.stores import Site

from measurand.client import Client
from measurand.client.errors import NotFound, Timeout, Unavailable

__all__ = ["Reader", "Watcher", "examine"]


class Reader:
    """Reads whatever there may be: never anything that was not offered as a whole.

    Attributes
    ----------
    looks, refused : int
        How often it has looked, and how often it was told that a store does not answer.
    """

    def __init__(self, address: str, ledger: Ledger, seed: int) -> None:
        self.looks = self.refused = 0
        self._ledger = ledger
        self._chance = random.Random(seed)
        self._client = Client(address, timeout=CALL_SECONDS)
        self._lab = self._client.catalog(CATALOG)

    def look(self, ended: threading.Event) -> None:
        """Read until it is told to end. Raises what must not be seen."""
        while not ended.wait(0.01):
            with self._ledger.lock:
                places = [(account, path) for account in self._ledger.accounts.values() for path in account.offered]
            if places:
                self._look_at(*self._chance.choice(places))

    def close(self) -> None:
        self._client.close()

    def _look_at(self, account: Account, path: str) -> None:
        turns, possible, is_open = account.turns, set(account.files[path]), account.is_surely("open")
        try:
            seen = digest_of(self._lab.get(account.id).read_bytes(path))
        except NotFound:
            seen = ABSENT
        except (Unavailable, Timeout):
            self.refused += 1
            return
        self.looks += 1
        assert seen in account.offered[path] | {ABSENT}, f"{path} of {account} was never to be {seen}"
        if is_open and turns == account.turns:  # nobody has changed it meanwhile
            assert seen in possible, f"{path} of {account}: {seen} was seen"


class Watcher:
    """Watches a catalog all the time, over whatever happens, and notes the newest revision of each dataset."""

    def __init__(self, address: str, catalog: str = CATALOG) -> None:
        self._seen: dict[str, int] = {}
        self._failure: BaseException | None = None
        self._client = Client(address, timeout=CALL_SECONDS)
        self._changes = self._client.catalog(catalog).watch()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._thread.start()

    def wait_for(self, id_: str, revision: int, seconds: float) -> None:
        """Return when it was told of a revision of a dataset, or of a later one."""
        end = time.monotonic() + seconds
        while self._seen.get(id_, 0) < revision:
            if self._failure is not None:
                raise self._failure
            assert time.monotonic() < end, f"the watch has not told of revision {revision} of {id_}"
            time.sleep(0.05)

    def close(self) -> None:
        """End, with the process at the latest: it may be waiting for a change."""
        self._client.close()

    def _watch(self) -> None:
        try:
            for change in self._changes:
                run = change.dataset
                self._seen[run.id] = max(self._seen.get(run.id, 0), run.revision)
        except BaseException as failure:
            self._failure = failure


def examine(site: Site, *, grace_seconds: float) -> dict[str, str]:
    """Have the doctor look at every document and every byte; returns what it says, by what it was looking at.

    Raises
    ------
    AssertionError
        It found something missing or damaged.
    """
    command = [sys.executable, "-m", "measurand.cli.main", "--json", "doctor", "--data", str(site.folder)]
    done = subprocess.run(
        [*command, *site.options, "--deep", "--bytes"],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **site.environment, "MEASURAND_LIMITS__BLOB_GRACE": f"{grace_seconds:g}s"},
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    bad = [finding for finding in findings if finding["status"] == "error"]
    assert done.returncode == 0 and not bad, (bad, done.stderr)
    return {finding["check"]: finding["message"] for finding in findings}
