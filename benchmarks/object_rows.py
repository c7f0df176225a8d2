"""The rows of objects: what is measured, and what is to be reached."""

from __future__ import annotations

from benchmarks import objects
from benchmarks.data import KiB, MiB
from benchmarks.harness import PRODUCT, Contender, Make, Row
from benchmarks.peers import proxystore

__all__ = ["OBJECT_ROWS"]

BATCH = (1000, 16 * KiB)
CODED = (20, MiB, "erasure:2+3")


def both(make: Make, peer: Make, *arguments: object) -> tuple[Contender, ...]:
    """Return the product with one copy on the local disk, and ProxyStore's files."""
    return (Contender(PRODUCT, make, arguments), Contender("proxystore", peer, arguments))


OBJECT_ROWS = (
    Row(
        "object-put-1k",
        "an object of 1 KiB, durable",
        "ms",
        both(objects.put, proxystore.put, 200, KiB),
        smaller_is_better=True,
        targets={PRODUCT: 3},
    ),
    Row(
        "object-get-1k",
        "an object of 1 KiB",
        "ms",
        both(objects.get, proxystore.get, 200, KiB),
        smaller_is_better=True,
        targets={PRODUCT: 3},
    ),
    Row(
        "object-put-1m",
        "an object of 1 MiB, durable",
        "ms",
        both(objects.put, proxystore.put, 30, MiB),
        smaller_is_better=True,
    ),
    Row(
        "object-get-1m",
        "an object of 1 MiB",
        "ms",
        both(objects.get, proxystore.get, 30, MiB),
        smaller_is_better=True,
    ),
    Row(
        "object-put-100m",
        "an object of 100 MiB, durable",
        "ms",
        both(objects.put, proxystore.put, 3, 100 * MiB),
        smaller_is_better=True,
        targets={"proxystore": 0.7},
    ),
    Row(
        "object-get-100m",
        "an object of 100 MiB",
        "ms",
        both(objects.get, proxystore.get, 3, 100 * MiB),
        smaller_is_better=True,
        targets={"proxystore": 0.7},
    ),
    Row(
        "object-put-coded",
        "an object of 1 MiB into six containers as erasure:2+3, durable",
        "ms",
        (Contender(PRODUCT, objects.put, CODED),),
        rounds=3,
        smaller_is_better=True,
        targets={PRODUCT: 43.5},
    ),
    Row(
        "object-get-coded",
        "an object of 1 MiB out of six containers, kept as erasure:2+3",
        "ms",
        (Contender(PRODUCT, objects.get, CODED),),
        rounds=3,
        smaller_is_better=True,
        targets={PRODUCT: 37.6},
    ),
    Row(
        "object-batch-put",
        "a batch of 1000 objects of 16 KiB, durable",
        "a second",
        both(objects.put_batch, proxystore.put_batch, *BATCH),
        targets={PRODUCT: 2000},
    ),
    Row(
        "object-batch-get",
        "a batch of 1000 objects of 16 KiB",
        "a second",
        both(objects.get_batch, proxystore.get_batch, *BATCH),
        targets={PRODUCT: 4000},
    ),
    Row(
        "object-batch-coded",
        "a batch of 1000 objects of 16 KiB into six containers as erasure:4+2, durable",
        "a second",
        (Contender(PRODUCT, objects.put_batch, (*BATCH, "erasure:4+2")),),
        targets={PRODUCT: 300},
    ),
)
