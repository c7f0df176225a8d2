"""What the metrics tell of containers: what they are and hold, and how they answer this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from measurand.core.containers.documents import Beat, State
from measurand.core.containers.ports import Direction
from measurand.core.containers.sites import Site, Sites
from measurand.core.means import Means
from measurand.server.metrics import Series

__all__ = ["ContainerFigures"]

MOST = 500
"""So many are told of, the first by name: a page of metrics must not grow without end."""

STATES: tuple[State, ...] = get_args(State)
WAYS: tuple[Direction, ...] = get_args(Direction)
QUANTILES = ("0.5", "0.95", "0.99")

_CONTAINER = ("container",)


class ContainerFigures:
    """The containers as this process sees them."""

    def __init__(self, sites: Sites, means: Means) -> None:
        self._sites = sites
        self._means = means

    def series(self) -> list[Series]:
        """Return what is told."""
        each, beat = self._each, self._beat
        return [
            Series("measurand_container_state", "1 for the state it is in.", ("container", "state"), self._states),
            Series("measurand_container_beat_seconds", "Age of its last sign of life.", _CONTAINER, each(self._age)),
            Series(
                "measurand_container_capacity_bytes", "Room in all.", _CONTAINER, beat(lambda it: it.capacity_bytes)
            ),
            Series("measurand_container_free_bytes", "Room that is left.", _CONTAINER, beat(lambda it: it.free_bytes)),
            Series("measurand_container_stored_bytes", "Of its parts.", _CONTAINER, each(lambda site: site.held.size)),
            Series("measurand_container_blobs", "Blobs in it.", _CONTAINER, each(lambda site: site.held.parts)),
            Series(
                "measurand_container_call_seconds",
                "How long the last hundred calls took.",
                ("container", "direction", "quantile"),
                self._seconds,
            ),
            Series("measurand_container_reads", "Reads.", _CONTAINER, each(lambda it: it.figures.reads), is_count=True),
            Series("measurand_container_failures", "Share of calls that failed.", _CONTAINER, each(self._failures)),
        ]

    def _first(self) -> Sequence[tuple[str, Site]]:
        return sorted(self._sites.all.items(), key=lambda item: item[0])[:MOST]

    def _each(self, look: Callable[[Site], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(name,): float(look(site)) for name, site in self._first()}

    def _beat(self, look: Callable[[Beat], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(name,): float(look(site.beat)) for name, site in self._first() if site.beat is not None}

    def _age(self, site: Site) -> float:
        return self._means.monotonic() - site.beat_seen

    def _failures(self, site: Site) -> float:
        return site.figures.failure_rate(self._means.monotonic())

    def _states(self) -> Mapping[tuple[str, ...], float]:
        return {
            (name, state): float(now == state)
            for name, now in ((name, self._sites.state(name)) for name, _ in self._first())
            for state in STATES
        }

    def _seconds(self) -> Mapping[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for name, site in self._first():
            for way in WAYS:
                for quantile in QUANTILES:
                    taken = site.figures.quantile(way, float(quantile))
                    if taken:
                        found[name, way, quantile] = taken
        return found
