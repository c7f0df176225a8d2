"""What a server counts, for Prometheus.

Labels come from closed sets: methods, codes, reasons, verbs, collections; and from the names of the first buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["Figure", "Metrics", "Series"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that is not counted but looked at whenever the page is made, by another thread than the event loop's.

    Parameters
    ----------
    name, meaning : str
        What it is called, with its unit, and what it tells.
    look : callable
        The number, or None where there is none to tell now.
    is_count : bool
        It only grows; on the page `_total` is added to its name.
    """

    name: str
    meaning: str
    look: Callable[[], float | None]
    is_count: bool = False

    def family(self, value: float | None = None) -> Metric:
        """Return what stands on the page."""
        kind = CounterMetricFamily if self.is_count else GaugeMetricFamily
        return kind(self.name, self.meaning, value=value)

    def shown(self) -> Metric | None:
        """Return what stands on the page now; None where there is nothing to tell."""
        value = self.look()
        return None if value is None else self.family(value)


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers of one kind of several things, looked at as a `Figure` is.

    Parameters
    ----------
    labels : tuple of str
        What tells the things apart.
    look : callable
        The number of each, by the values of its labels.
    """

    name: str
    meaning: str
    labels: tuple[str, ...]
    look: Callable[[], Mapping[tuple[str, ...], float]]
    is_count: bool = False

    def family(self) -> Metric:
        """Return what stands on the page while there is nothing to tell."""
        kind = CounterMetricFamily if self.is_count else GaugeMetricFamily
        return kind(self.name, self.meaning, labels=self.labels)

    def shown(self) -> Metric:
        """Return what stands on the page now."""
        family: Any = self.family()
        for labels, value in self.look().items():
            family.add_metric(labels, value)
        return cast("Metric", family)


class Metrics:
    """The counters of one process. A `Recorder` of calls and the `Meter` of both stores."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._calls = Counter(
            "measurand_calls", "Calls that have ended.", ("method", "code", "reason"), registry=registry
        )
        self._seconds = Histogram(
            "measurand_call_seconds", "How long calls took.", ("method",), buckets=_SECONDS, registry=registry
        )
        self._running = Gauge(
            "measurand_calls_running", "Calls that are being answered.", ("method",), registry=registry
        )
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

        self._document_seconds = Histogram(
            "measurand_document_seconds",
            "How long calls of the document store took.",
            ("store", "collection", "verb"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._document_errors = Counter(
            "measurand_document_errors",
            "Calls that failed.",
            ("store", "collection", "verb", "reason"),
            registry=registry,
        )
        # Labels are looked up for every call and every read of a document, which takes longer than to count it.
        self._running_of = cache(self._running.labels)
        self._calls_of = cache(self._calls.labels)
        self._seconds_of = cache(self._seconds.labels)
        self._document_seconds_of = cache(self._document_seconds.labels)

    def begin(self, method: str) -> None:
        self._running_of(method).inc()

    def end(self, method: str, code: str, reason: str, seconds: float) -> None:
        self._running_of(method).dec()
        self._calls_of(method, code, reason).inc()
        self._seconds_of(method).observe(seconds)

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

    def asked(self, store: str, collection: str, verb: str, seconds: float, error: str) -> None:
        self._document_seconds_of(store, collection, verb).observe(seconds)
        if error:
            self._document_errors.labels(store, collection, verb, error).inc()

    def show(self, figures: Sequence[Figure | Series]) -> None:
        """Show figures of this process."""
        self.registry.register(_Looked(figures, lambda: True))

    def follow(self, is_leading: Callable[[], bool], figures: Sequence[Figure | Series]) -> None:
        """Show whether this server does the work that one does for all, and the figures of that work while it does."""
        leading = Figure(
            "measurand_leading",
            "1 where the work is done that one server does for all.",
            lambda: float(is_leading()),
        )
        self.show([leading])
        self.registry.register(_Looked(figures, is_leading))

    def page(self) -> bytes:
        """Return all of it in Prometheus' text form."""
        return generate_latest(self.registry)


class _Looked(Collector):
    """Figures, shown while `when` holds."""

    def __init__(self, figures: Sequence[Figure | Series], when: Callable[[], bool]) -> None:
        self._figures = figures
        self._when = when

    def describe(self) -> Iterable[Metric]:
        return [figure.family() for figure in self._figures]

    def collect(self) -> Iterator[Metric]:
        for figure in self._figures if self._when() else ():
            family = figure.shown()
            if family is not None:
                yield family
