"""The rows of the registry: what is measured, and what is to be reached."""

from __future__ import annotations

from benchmarks import registry
from benchmarks.harness import PRODUCT, Contender, Row

__all__ = ["REGISTRY_ROWS"]

REGISTRY_ROWS = (
    Row(
        "registry-beats",
        "1,000 gateways that beat every 10 s, what the server needs of one core; beside it as many empty calls",
        "%",
        (
            Contender(PRODUCT, registry.beats, (1000,)),
            Contender("empty calls", registry.empty_calls, (1000,)),
        ),
        rounds=3,
        smaller_is_better=True,
        targets={PRODUCT: 5},
    ),
    Row(
        "registry-watch",
        "changes that 100 clients are told while 1,000 entries come, durable, from 16 callers; beside it 10 clients",
        "a second",
        (
            Contender(PRODUCT, registry.watched, (1000, 100)),
            Contender("10 clients", registry.watched, (1000, 10)),
        ),
        rounds=3,
    ),
)
