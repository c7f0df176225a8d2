"""What a server counts, for Prometheus. Labels come from closed sets: methods, codes, reasons."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one process. A `Recorder` of calls and the `Meter` of the blob store."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._calls = Counter(
            "measurand_calls", "Calls that have ended.", ("method", "code", "reason"), registry=registry
        )
        self._seconds = Histogram(
            "measurand_call_seconds", "How long calls took.", ("method",), buckets=_SECONDS, registry=registry
        )
        self._running = Gauge("measurand_calls_running", "Calls that are being answered.", registry=registry)
        self._received = Counter("measurand_bytes_received", "Bytes of messages received.", registry=registry)
        self._sent = Counter("measurand_bytes_sent", "Bytes of messages sent.", registry=registry)

        self._blob_seconds = Histogram(
            "measurand_blob_seconds",
            "How long calls of the blob store took.",
            ("store", "verb"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._blob_errors = Counter(
            "measurand_blob_errors", "Calls that failed.", ("store", "verb", "reason"), registry=registry
        )
        read = Counter("measurand_blob_bytes_read", "Bytes read from the blob store.", ("store",), registry=registry)
        written = Counter("measurand_blob_bytes_written", "Bytes written to it.", ("store",), registry=registry)
        self._blob_bytes = {"open": read, "put": written, "append": written}

    def begin(self, method: str) -> None:
        self._running.inc()

    def end(self, method: str, code: str, reason: str, seconds: float) -> None:
        self._running.dec()
        self._calls.labels(method, code, reason).inc()
        self._seconds.labels(method).observe(seconds)

    def received(self, size: int) -> None:
        self._received.inc(size)

    def sent(self, size: int) -> None:
        self._sent.inc(size)

    def observe(self, store: str, verb: str, seconds: float, error: str) -> None:
        self._blob_seconds.labels(store, verb).observe(seconds)
        if error:
            self._blob_errors.labels(store, verb, error).inc()

    def moved(self, store: str, verb: str, size: int) -> None:
        self._blob_bytes[verb].labels(store).inc(size)

    def page(self) -> bytes:
        """Return all of it in Prometheus' text form."""
        return generate_latest(self.registry)
