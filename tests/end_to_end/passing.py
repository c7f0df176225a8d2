"""A proxy that stands between client and servers, counts what the client sends, and acts at a chosen byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_AT_ONCE = 256 * 1024


class Proxy:
    """Listens on one port and passes each connection on to wherever the server is at that time.

    It outlives the servers, so the client keeps its address when another server takes the place of the one before.
    Over several servers it spreads the connections, and passes over those that take none.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._targets: list[tuple[str, int]] = []
        self._turn = 0
        self._sent = 0
        self._marks: list[tuple[int, Callable[[], None]]] = []
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def sent_bytes(self) -> int:
        """So many bytes has the client sent, over all its connections."""
        with self._lock:
            return self._sent

    def lead_to(self, *addresses: str) -> None:
        """Pass connections on to one of these `host:port` from now on."""
        self._targets = [(host, int(port)) for host, _, port in (address.rpartition(":") for address in addresses)]

    def at(self, position: int, act: Callable[[], None]) -> None:
        """Call `act` once, when the client has sent so many bytes, before the last of them are passed on."""
        with self._lock:
            self._marks = sorted([*self._marks, (position, act)], key=lambda mark: mark[0])

    def cut(self) -> None:
        """Cut all connections there are."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            if server is None:
                client.close()  # no server there now; the client will come again
                continue
            with self._lock:
                self._pairs.add((client, server))
            threading.Thread(target=self._pass_up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pass_down, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket | None:
        targets = self._targets
        self._turn += 1
        for offset in range(len(targets)):
            with contextlib.suppress(OSError):
                return socket.create_connection(targets[(self._turn + offset) % len(targets)])
        return None

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_AT_ONCE):
                self._count(len(data))
                server.sendall(data)
        # What the client has handed to the kernel was sent too, though nobody will read it.
        client.setblocking(False)
        with contextlib.suppress(OSError):
            while data := client.recv(_AT_ONCE):
                self._count(len(data))
        with self._lock:
            self._pairs.discard((client, server))
        client.close()
        server.close()

    def _pass_down(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_AT_ONCE):
                client.sendall(data)
        for end in (client, server):  # wakes the other direction, which closes both
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)

    def _count(self, size: int) -> None:
        with self._lock:
            self._sent += size
            due = [act for position, act in self._marks if position <= self._sent]
            self._marks = self._marks[len(due) :]
        for act in due:
            act()


@contextmanager
def proxy() -> Iterator[Proxy]:
    """Give a proxy that leads nowhere yet."""
    passing = Proxy()
    try:
        yield passing
    finally:
        passing.close()
