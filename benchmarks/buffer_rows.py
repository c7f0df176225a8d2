"""The rows of buffers: what is measured, and what is to be reached."""

from __future__ import annotations

from benchmarks import buffers
from benchmarks.harness import PRODUCT, Contender, Row

__all__ = ["BUFFER_ROWS"]

BUFFER_ROWS = (
    Row(
        "buffer-writers",
        "records of 1 KiB into one buffer, durable, 64 pipelined writers in 8 processes",
        "a second",
        (Contender(PRODUCT, buffers.throughput, ("pipelined",)),),
        targets={PRODUCT: 50_000},
    ),
    Row(
        "buffer-callers",
        "records of 1 KiB into one buffer, durable, 64 callers in 8 processes, a call each",
        "a second",
        (Contender(PRODUCT, buffers.throughput, ("unary",)),),
    ),
    Row(
        "buffer-workers",
        "64 pipelined writers through four workers into one buffer, durable; beside it through one process",
        "a second",
        (
            Contender(PRODUCT, buffers.throughput, ("pipelined", "workers", 1, 4, 16)),
            Contender("one process", buffers.throughput, ("pipelined", "disk", 1, 4, 16)),
        ),
        rounds=3,
        targets={"one process": 1.0},
    ),
    Row(
        "buffer-fleet",
        "the same over MongoDB and S3: 64 pipelined writers; beside it 64 callers",
        "a second",
        (
            Contender(PRODUCT, buffers.throughput, ("pipelined", "fleet", 1, 4, 16)),
            Contender("a call each", buffers.throughput, ("unary", "fleet", 1, 4, 16)),
        ),
        rounds=3,
        needs=["mongod", "s3"],
    ),
    Row(
        "buffer-servers",
        "64 pipelined writers through four servers into one buffer, over MongoDB and S3; beside it through one",
        "a second",
        (
            Contender(PRODUCT, buffers.throughput, ("pipelined", "fleet", 4, 4, 16)),
            Contender("one server", buffers.throughput, ("pipelined", "fleet", 1, 4, 16)),
        ),
        rounds=3,
        targets={"one server": 1.0},
        needs=["mongod", "s3"],
    ),
    Row(
        "buffer-calls",
        "64 callers through four servers into one buffer, over MongoDB and S3, a call each; beside it through one",
        "a second",
        (
            Contender(PRODUCT, buffers.throughput, ("unary", "fleet", 4, 4, 16)),
            Contender("one server", buffers.throughput, ("unary", "fleet", 1, 4, 16)),
        ),
        rounds=3,
        targets={"one server": 1.0},
        needs=["mongod", "s3"],
    ),
    Row(
        "buffer-fairness",
        "what the slowest of four servers stores with 64 pipelined writers, beside their mean",
        "of the mean",
        (Contender(PRODUCT, buffers.fairness, ("fleet", 4)),),
        rounds=3,
        targets={PRODUCT: 0.5},
        needs=["mongod", "s3"],
    ),
    Row(
        "buffer-live",
        "from the acknowledgement of 0.1 s of strain at 16384 Hz to its being seen by 4 tails and a group, p95",
        "ms",
        (Contender(PRODUCT, buffers.latency, (4,)),),
        rounds=3,
        smaller_is_better=True,
        targets={PRODUCT: 20},
    ),
    Row(
        "buffer-growth",
        "a record of 1 KiB into a buffer of a million, durable; beside it of fewer",
        "ms",
        (
            Contender(PRODUCT, buffers.append_among, (1_000_000,)),
            Contender("of 1,000", buffers.append_among, (1000,)),
            Contender("of 30,000", buffers.append_among, (30_000,)),
        ),
        smaller_is_better=True,
        targets={"of 1,000": 0.8, "of 30,000": 0.8},
        is_long=True,
    ),
    Row(
        "buffer-stats",
        "the statistics of a buffer of a million records, exact; beside it of a thousand",
        "ms",
        (Contender(PRODUCT, buffers.stats_among, (1_000_000,)), Contender("of 1,000", buffers.stats_among, (1000,))),
        smaller_is_better=True,
        targets={PRODUCT: 10},
        is_long=True,
    ),
)
