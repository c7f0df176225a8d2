"""The rows of containers: what is measured, and what is to be reached."""

from __future__ import annotations

from benchmarks import containers
from benchmarks.harness import PRODUCT, Contender, Row

__all__ = ["CONTAINER_ROWS"]

SIZE = 256 << 20

CONTAINER_ROWS = (
    Row(
        "erasure-put",
        "a file of 256 MiB up into eight containers as erasure:4+2, durable; beside it as one copy",
        "GB/s",
        (
            Contender(PRODUCT, containers.put, (SIZE, "erasure:4+2")),
            Contender("single", containers.put, (SIZE, "single")),
            Contender("replicate:3", containers.put, (SIZE, "replicate:3")),
        ),
        targets={"single": 0.5},
    ),
    Row(
        "erasure-get",
        "a file of 256 MiB down from eight containers, kept as erasure:4+2; beside it as one copy",
        "GB/s",
        (
            Contender(PRODUCT, containers.get, (SIZE, "erasure:4+2")),
            Contender("single", containers.get, (SIZE, "single")),
            Contender("replicate:3", containers.get, (SIZE, "replicate:3")),
        ),
        targets={"single": 0.5},
    ),
    Row(
        "erasure-put-small",
        "files of 16 KiB into eight containers as erasure:4+2, durable, 32 callers",
        "a second",
        (Contender(PRODUCT, containers.put_many, (500, 16 << 10, 32, "erasure:4+2")),),
        rounds=3,
        targets={PRODUCT: 300},
    ),
    Row(
        "erasure-memory",
        "most that the server holds while a file of 10 GiB goes into eight containers as erasure:4+2 and comes back",
        "MiB",
        (Contender(PRODUCT, containers.memory, (10 << 30, "erasure:4+2")),),
        rounds=1,
        smaller_is_better=True,
        targets={PRODUCT: 512},
        is_long=True,
    ),
)
