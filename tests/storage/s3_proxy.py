"""A way to an S3 server that breaks when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit

__all__ = ["Way"]


class Way:
    """Listens on a port of its own and passes every connection on to the server at `endpoint`. Close it."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None and parts.port is not None
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._cuts: list[int] = []
        self._is_blocked = False
        self.connections = 0
        self._run(self._accept)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut_answers(self, *sizes: int) -> None:
        """Cut each of the next connections when so many bytes have come back on it."""
        with self._lock:
            self._cuts = list(sizes)

    def block(self) -> None:
        """Cut all connections, and every new one at once."""
        self._is_blocked = True
        with self._lock:
            for end in self._ends:
                _cut(end)

    def open(self) -> None:
        """Let connections through again."""
        self._is_blocked = False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.block()
        for thread in self._threads:
            thread.join(30)
        for end in self._ends:
            end.close()

    def _run(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_blocked:
                client.close()
                continue
            server = socket.create_connection(self._server, timeout=30)
            with self._lock:
                self.connections += 1
                self._ends += [client, server]
                most = self._cuts.pop(0) if self._cuts else None
            self._run(self._pass_on, client, server, None)
            self._run(self._pass_on, server, client, most)

    def _pass_on(self, source: socket.socket, target: socket.socket, most: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if most is not None:
                    data, most = data[:most], max(0, most - len(data))
                target.sendall(data)
                if most == 0:
                    break
        for end in (source, target):
            _cut(end)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
