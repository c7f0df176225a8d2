"""The HTTP port: metrics for Prometheus. Served by threads of its own: a busy event loop can still be watched."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from measurand.server.config import Address, ConfigError

__all__ = ["Page", "Web"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """One path: its content type, and a function that makes its bytes anew for each request, in a thread."""

    content_type: str
    make: Callable[[], bytes]


class Web:
    """Serves pages by their paths."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._server: ThreadingHTTPServer | None = None

    def start(self, address: Address) -> Address:
        """Serve from now on, and return the address with its true port. Raises ConfigError."""
        try:
            self._server = _Server(address, self._pages)
        except OSError as error:
            raise ConfigError(
                f"--http {address}: {error.strerror or error}; choose another port (0: any free one) or say --http off"
            ) from error
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True).start()
        return Address(address.host, self._server.server_address[1])

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Address, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        if ":" in address.host:
            self.address_family = socket.AF_INET6
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        # The base class would ask the network for the name of this machine, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10.0

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND, "There is no such page", f"There are {', '.join(self.server.pages)}")
            return
        try:
            content = page.make()
        except Exception:
            logger.exception("event=page_failed path=%s", self.path.partition("?")[0])
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        logger.debug("event=http detail=%r", format % args)
