"""A detector appends, a monitor looks on, searchers share the work, models are trained while the stream holds still.

It runs on a private server in memory, which ends with it: `python examples/buffer.py`.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from measurand.client import Buffer, Catalog, Client

RATE = 4096
BLOCK = 300
GPS = 1_126_259_462
TRAININGS = 2


def main() -> int:
    """Play it and return 0 when every block is where it belongs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=200, help="how many make a training set (default: 200)")
    blocks = parser.parse_args().blocks

    with Client("memory:") as client:
        lab = client.create_catalog("lab")
        strain = lab.create_buffer("h1-strain", freeze_after={"records": blocks}, metadata={"detector": "H1"})
        taken = TRAININGS * blocks + blocks // 2

        parts = [
            threading.Thread(target=detect, args=(strain, taken)),
            threading.Thread(target=monitor, args=(strain, taken)),
            *(threading.Thread(target=search, args=(strain, taken)) for _ in range(2)),
        ]
        for part in parts:
            part.start()
        for number in range(1, TRAININGS + 1):
            train(lab, strain, f"run-{number}", blocks)
        for part in parts:
            part.join()

        strain.rotate(title="what was left")
        strain.finish()
        return report(lab, strain, taken)


def signal(count: int) -> Iterator[tuple[float, npt.NDArray[np.float64]]]:
    """Yield what a detector gives: blocks of strain, and the GPS time of their first sample."""
    noise = np.random.default_rng(1)
    for number in range(count):
        yield GPS + number * BLOCK / RATE, noise.normal(0, 1e-21, BLOCK)


def detect(strain: Buffer, count: int) -> None:
    """Append block after block. While the buffer is frozen they wait here, and none is lost."""
    with strain.writer() as out:
        for gps, block in signal(count):
            out.write(block, {"channel": "H1:STRAIN"}, gps=gps)
            out.flush()  # records that travel together stay in one window: so each window ends at its limit


def monitor(strain: Buffer, count: int) -> None:
    """Look at all that comes, as a display in the control room does; it disturbs nobody."""
    loudest = 0.0
    for record in strain.tail():
        loudest = max(loudest, float(np.abs(record.array).max()))
        if record.seq == count:
            print(f"monitor: {count} blocks, the loudest sample is {loudest:.2e}")
            return


def search(strain: Buffer, count: int) -> None:
    """Take a share of the blocks and look for events in them; what is not acknowledged comes again."""
    with strain.consume("search", timeout=2) as records:
        for record in records:
            if np.abs(record.array).max() > 4e-21:
                print(f"search: block {record.seq}, measured {record.event_time}, is loud")
            record.ack()


def train(lab: Catalog, strain: Buffer, run_id: str, blocks: int) -> None:
    """Wait for a training set, hold the stream still, train, keep the model; the stream goes on, whatever happens."""
    with strain.frozen(wait="2 min", run_id=run_id, title=f"training set of {run_id}") as window:
        samples = np.concatenate([record.array for record in window.read(window.sequences)])
        width = float(samples.std())
    assert window.batch is not None
    batch, sequences = window.batch.name, window.sequences
    lab.create(f"model of {run_id}", {"width": width, "blocks": blocks}, kind="model", parents=[batch])
    print(f"{run_id}: trained on records {sequences.start} to {sequences.stop - 1}, which are now {batch}")


def report(lab: Catalog, strain: Buffer, taken: int) -> int:
    """Compare what is in the batches with what was measured."""
    batches = sorted(strain.batches(), key=lambda batch: batch.window)
    stored = [record for batch in batches for record in batch.records(data=True)]
    same = [
        record.seq == number and record.array.tobytes() == block.tobytes()
        for number, (record, (_, block)) in enumerate(zip(stored, signal(taken), strict=True), 1)
    ]
    for event in strain.log():
        print(f"log: {event.time:%H:%M:%S} {event.kind} window {event.window} {event.actor} {event.message}".rstrip())
    if not all(same) or lab.count('kind = "model"') != TRAININGS:
        print("something is missing", file=sys.stderr)
        return 1
    print(f"{taken} blocks are in {len(batches)} batches, each once, every bit as it was measured")
    return 0


if __name__ == "__main__":
    sys.exit(main())
