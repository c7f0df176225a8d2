"""Somebody who works with datasets and files as a user does, and keeps account of what was acknowledged."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blake3 import blake3
from tests.end_to_end.ledger import ABSENT, Account, Change, Ledger, Unknown

from measurand.client import Client, Dataset
from measurand.client.errors import Timeout, Unavailable

__all__ = ["CALL_SECONDS", "CATALOG", "Actor", "digest_of"]

KiB = 1024
MiB = 1024 * KiB
CATALOG = "chaos"
CALL_SECONDS = 20.0
"""The deadline that the client is given. A change that had no answer by then is tried once more."""
MOST_SECONDS = 2 * CALL_SECONDS + 5.0
MOST_DATASETS = 4
PATHS = tuple(f"f{number}" for number in range(6))


def digest_of(data: bytes) -> str:
    """Return the BLAKE3 of bytes."""
    return blake3(data).hexdigest()


class Actor:
    """Does one thing after the other, by chance. Nobody else changes its datasets.

    Parameters
    ----------
    window_seconds : float
        After it what is deleted is purged.

    Attributes
    ----------
    uploading : Popen, optional
        A process of its own that uploads just now, for somebody to kill.
    longest : tuple of (float, str)
        The longest that a call has taken, and which one.
    refused : int
        How many reads were told that a store does not answer.
    """

    def __init__(
        self, name: str, address: str, ledger: Ledger, folder: Path, *, seed: int, window_seconds: float
    ) -> None:
        self.name = name
        self.uploading: subprocess.Popen[bytes] | None = None
        self.longest = (0.0, "")
        self.refused = 0
        self._address = address
        self._ledger = ledger
        self._folder = folder
        self._in_time_seconds = window_seconds / 3
        self._chance = random.Random(f"{name} {seed}")
        self._client = Client(address, timeout=CALL_SECONDS)
        self._lab = self._client.catalog(CATALOG)
        self._mine: list[Account] = []
        self._made = 0
        folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        self._client.close()

    def act(self, ended: threading.Event) -> None:
        """Work until it is told to end. Raises what must not happen."""
        while not ended.is_set():
            open_ = [account for account in self._mine if account.is_settled and account.is_surely("open")]
            deleted = [account for account in self._mine if account.is_settled and account.is_surely("deleted")]
            deleted = [account for account in deleted if account.deleted_seconds < self._in_time_seconds]
            self._mine = [account for account in self._mine if self._is_of_use(account)]
            try:
                if not open_ or (len(self._mine) < MOST_DATASETS and self._chance.random() < 0.1):
                    self._create()
                elif deleted and self._chance.random() < 0.5:
                    self._chance.choice([self._undelete, self._purge])(self._chance.choice(deleted))
                else:
                    self._choose()(self._chance.choice(open_))
            except Unknown:
                continue
            except (Unavailable, Timeout):  # of a read; that it says so, and in time, is all that is asked
                self.refused += 1

    def _choose(self) -> Callable[[Account], None]:
        does: dict[Callable[[Account], None], int] = {
            self._edit: 4,
            self._tag: 2,
            self._write: 5,
            self._upload: 4,
            self._upload_in_a_process: 1,
            self._send_folder: 2,
            self._copy: 1,
            self._delete_file: 2,
            self._delete: 1,
            self._read: 4,
            self._find: 1,
        }
        return self._chance.choices(list(does), list(does.values()))[0]

    # ------------------------------------------------------------------------------------------------------ datasets

    def _create(self) -> None:
        self._made += 1
        account = self._ledger.open(f"{self.name}-{self._made}")
        self._mine.append(account)
        with self._changing(account, "create", Change("open", number=0, revisions=1)):
            self._lab.create(account.id, {"n": 0, "who": self.name}, id=account.id)

    def _edit(self, account: Account) -> None:
        run = self._get(account)
        number = run.metadata["n"] + 1
        assert account.numbers == {number - 1}, (account, run.metadata)
        with self._changing(account, "edit", Change(number=number, revisions=1)):
            run.update({"n": number})
        assert account.revision in (None, run.revision), (account, run.revision)
        account.revision = run.revision

    def _tag(self, account: Account) -> None:
        (tags,) = account.tags
        tag = self._chance.choice("abc")
        run = self._get(account)
        with self._changing(account, "tag", Change(tags=tags ^ {tag}, revisions=1)):
            (run.remove_tags if tag in tags else run.add_tags)(tag)
        assert account.revision in (None, run.revision), (account, run.revision)

    def _delete(self, account: Account) -> None:
        run = self._get(account)
        with self._changing(account, "delete", Change("deleted", revisions=1)):
            run.delete()

    def _undelete(self, account: Account) -> None:
        with self._changing(account, "undelete", Change("open", revisions=1)):
            self._lab.undelete(account.id)

    def _purge(self, account: Account) -> None:
        run = self._lab.get(account.id, show_deleted=True)
        with self._changing(account, "purge", Change("purged")):
            run.purge()

    def _find(self, account: Account) -> None:
        with self._timed("find"):
            found = self._lab.find(f'metadata.who = "{self.name}"').all()
        open_ = {account.id for account in self._mine if account.is_surely("open")}
        maybe = {account.id for account in self._mine if "open" in account.states}
        assert open_ <= {run.id for run in found} <= maybe, (open_, found, maybe)

    # --------------------------------------------------------------------------------------------------------- files

    def _write(self, account: Account) -> None:
        data, path = self._chance.randbytes(self._chance.choice([10, 3 * KiB, 300 * KiB])), self._path()
        run = self._get(account)
        with self._changing(account, "put", Change(files={path: digest_of(data)})):
            run.write_bytes(path, data)

    def _upload(self, account: Account) -> None:
        data, path = self._large(), self._path()
        run = self._get(account)
        with self._changing(account, "upload", Change(files={path: digest_of(data)}), seconds=None):
            assert run.upload(data, path).blake3 == digest_of(data)

    def _upload_in_a_process(self, account: Account) -> None:
        """Upload a file from a process that may be killed, again and again until it is through."""
        data, path = self._large(), self._path()
        source = self._folder / "source"
        source.write_bytes(data)
        names = [self._address, CATALOG, account.id, str(source), path]
        with self._changing(account, "upload by a process", Change(files={path: digest_of(data)}), seconds=None):
            while not self._run([sys.executable, "-m", "tests.end_to_end.uploading", *names]):
                time.sleep(0.5)

    def _send_folder(self, account: Account) -> None:
        folder = self._folder / "folder"
        folder.mkdir(exist_ok=True)
        contents = {f"d/{number}": self._chance.randbytes(self._chance.randrange(5000)) for number in range(12)}
        for path, data in contents.items():
            (folder / path[2:]).write_bytes(data)
        run = self._get(account)
        digests = {path: digest_of(data) for path, data in contents.items()}
        with self._changing(account, "folder", Change(files=digests), seconds=None):
            run.upload_dir(folder, "d")

    def _copy(self, account: Account) -> None:
        if digests := account.digests:
            source, path = self._chance.choice(sorted(digests)), self._path()
            run = self._get(account)
            with self._changing(account, "copy", Change(files={path: digests[source]})):
                run.copy_file(source, path)

    def _delete_file(self, account: Account) -> None:
        if digests := account.digests:
            path = self._chance.choice(sorted(digests))
            run = self._get(account)
            with self._changing(account, "delete a file", Change(files={path: ABSENT}, revisions=None)):
                run.delete_file(path)

    def _read(self, account: Account) -> None:
        if digests := account.digests:
            path = self._chance.choice(sorted(digests))
            run = self._get(account)
            with self._timed("read", None):
                data = run.read_bytes(path)
            assert digest_of(data) == digests[path], f"{path} of {account} has other bytes"

    # -------------------------------------------------------------------------------------------------------- helpers

    def _run(self, command: list[str]) -> bool:
        """Run a program; False: it was killed, or found no server that it could have begun to talk to."""
        with (self._folder / "said").open("w+") as said:
            self.uploading = subprocess.Popen(command, stderr=said)
            code = self.uploading.wait(300)
            self.uploading = None
            said.seek(0)
            last = said.read()
        assert code in (0, -9) or "Unavailable" in last, f"{command} ended with {code}: {last}"
        return code == 0

    def _large(self) -> bytes:
        """Return the bytes of a file that is uploaded, of several parts now and then."""
        most = self._chance.choice([2, 3, 3, 4, 12])
        return self._chance.randbytes(self._chance.randrange(MiB, most * MiB))

    def _is_of_use(self, account: Account) -> bool:
        """Tell whether it is there, or can be brought back without haste."""
        return not account.states <= {"purged", "absent"} and account.deleted_seconds < self._in_time_seconds

    def _path(self) -> str:
        return self._chance.choice(PATHS)

    def _get(self, account: Account) -> Dataset:
        with self._timed("get"):
            return self._lab.get(account.id)

    @contextmanager
    def _changing(
        self, account: Account, what: str, change: Change, *, seconds: float | None = MOST_SECONDS
    ) -> Iterator[None]:
        with self._ledger.changing(account, what, change), self._timed(what, seconds):
            yield

    @contextmanager
    def _timed(self, what: str, seconds: float | None = MOST_SECONDS) -> Iterator[None]:
        """Hold a call to its deadline. None: it has none."""
        begin = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - begin
            if seconds is not None:
                self.longest = max(self.longest, (took, what))
                assert took < seconds, f"{what} took {took:.1f} s; its deadline was {CALL_SECONDS} s"
