"""An OpenTelemetry collector for tests: takes OTLP over HTTP on a free loopback port and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "Taken", "collecting"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A span as it came in."""

    span: Span
    attributes: dict[str, str | int]
    resource: dict[str, str | int]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def is_fault(self) -> bool:
        return self.span.status.code == 2


class Collector:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="collector")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                about = _plain(resource.resource.attributes)
                self.taken += [Taken(span, _plain(span.attributes), about) for span in scope.spans]

    def named(self, name: str) -> list[Taken]:
        """Return the spans of that name."""
        return [taken for taken in self.taken if taken.name == name]

    def below(self, parent: Taken) -> list[Taken]:
        """Return the spans whose parent it is."""
        return [taken for taken in self.taken if taken.parent_id == parent.id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for the time of the block."""
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


class _Server(HTTPServer):
    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # The base class would ask the network for the name of this machine.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.collector.take(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing."""


def _plain(pairs: Iterable[KeyValue]) -> dict[str, str | int]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
