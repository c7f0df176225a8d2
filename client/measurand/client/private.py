"""Private servers: started for a folder by the first client that wants it, joined by the others, ended with the last.

The server writes `server.json` into its folder while it runs, and ends soon after the last KeepOpen stream has ended.
Two programs that start at once both start a server; the folder's lock lets one of them stay, and both join that one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from measurand.client.address import Address
from measurand.wire.errors import InvalidArgument, Unavailable

__all__ = ["Notice", "Private"]

NOTICE = "server.json"
LOG = "private-server.log"
MOST_STARTS = 3


@dataclass(frozen=True, slots=True)
class Notice:
    """What a running server says about itself in its folder; it may be left over from one that was killed."""

    target: str
    instance_id: str


class Private:
    """A private server, as this client sees it.

    Parameters
    ----------
    address : Address
        `file:///folder` or `memory:`.
    """

    def __init__(self, address: Address) -> None:
        if sys.platform == "win32":
            raise InvalidArgument(
                f"{address} needs a server of its own, and servers run on Linux and macOS only; "
                "start one there with `measurand serve` and give its host:port",
                field="url",
            )
        self.address = address
        self._is_temporary = address.private == "memory"
        self.folder = Path(tempfile.mkdtemp(prefix="measurand-")) if self._is_temporary else Path(address.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: threading.Thread | None = None
        self._starts = 0

    def read_notice(self) -> Notice | None:
        """Return what the folder says about the server that runs there, or None."""
        try:
            content = json.loads((self.folder / NOTICE).read_text("utf-8"))
            return Notice(str(content["address"]), str(content["instance_id"]))
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None  # none yet, or not wholly written

    def start(self) -> None:
        """Start a server, unless the one that was started last still runs.

        Raises
        ------
        Unavailable
            It ended several times; the text has the last lines of what it said.
        """
        if self._process is not None and self._process.poll() is None:
            return
        if self._starts == MOST_STARTS:
            raise Unavailable(
                f"the private server for {self.address} does not start: {self.last_words()}", store=str(self.folder)
            )
        self._starts += 1
        command = [sys.executable, "-m", "measurand.cli.main", "serve", "--data", str(self.folder)]
        command += ["--listen", "127.0.0.1:0", "--http", "off", "--private"]
        if self._is_temporary:
            command += ["--documents", "memory:", "--blobs", "memory:"]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG).open("wb") as log:
            # A session of its own: Ctrl-C in the terminal interrupts the program, not the store that it writes to.
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._reaper = threading.Thread(target=self._process.wait, name="measurand-private", daemon=True)
        self._reaper.start()

    def last_words(self) -> str:
        """Return the end of what the server said."""
        try:
            lines = (self.folder / LOG).read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return " / ".join(lines[-5:]) or "it said nothing"

    def close(self) -> None:
        """Tidy up after the server; it has noticed by itself that nobody holds it any longer."""
        if self._is_temporary:
            if self._process is not None and self._reaper is not None:
                self._process.terminate()  # nobody else can have found it: no need to wait until it notices
                self._reaper.join(10.0)
            shutil.rmtree(self.folder, ignore_errors=True)
