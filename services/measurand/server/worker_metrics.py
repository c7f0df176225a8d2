"""The metrics of several workers as one page: every series with the number of its worker."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

__all__ = ["WorkerMetrics"]

TIMEOUT_SECONDS = 5.0

logger = logging.getLogger(__name__)


class WorkerMetrics(Collector):
    """Asks the workers whenever it is asked. One that does not answer is left out.

    Parameters
    ----------
    workers : callable
        The number of each worker and the address of its own HTTP port.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, workers: Callable[[], Sequence[tuple[int, str]]]) -> None:
        self._workers = workers
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def page(self) -> bytes:
        """Return all of it in Prometheus' text form."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the workers are asked."""
        return ()

    def collect(self) -> Iterator[Metric]:
        workers = self._workers()
        families: dict[str, Metric] = {}
        with ThreadPoolExecutor(max_workers=max(len(workers), 1)) as threads:
            for (number, _), text in zip(workers, threads.map(lambda worker: ask(worker[1]), workers), strict=True):
                for family in text_string_to_metric_families(text):
                    whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                    for sample in family.samples:
                        whole.add_sample(sample.name, {**sample.labels, "worker": str(number)}, sample.value)
        yield from families.values()


def ask(address: str) -> str:
    """Return the page of one worker, or nothing."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_SECONDS) as answer:  # ours
            return str(answer.read(), "utf-8")
    except OSError as error:
        logger.warning("event=worker_not_asked address=%s message=%s", address, error)
        return ""
