"""A detector: a program that writes records into a buffer and ends. What the rounds kill and run again."""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from measurand.client import Client

__all__ = ["BUFFER", "CATALOG", "record_of"]

CATALOG, BUFFER = "lab", "v1"


def record_of(producer: int, number: int) -> bytes:
    """Return the bytes of a record: who has measured it, which it is, and some that nobody can guess."""
    chance = random.Random(producer << 32 | number)
    return b"%d %d " % (producer, number) + chance.randbytes(chance.randrange(300))


def main() -> None:
    """Write the records that are left of so many, or hold some for a group, and print the number of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--catalog", default=CATALOG)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--spool", type=Path)
    parser.add_argument("--pause", type=float, default=0.0, metavar="SECONDS", help="between two records")
    parser.add_argument("--hold", metavar="GROUP", help="take so many records for a group, and keep them")
    options = parser.parse_args()
    with Client(options.address) as client:
        buffer = client.catalog(options.catalog).buffer(BUFFER)
        if options.hold:
            with buffer.consume(options.hold, ack_timeout=2, most=options.count) as records:
                for record in records:
                    print(record.seq, flush=True)  # noqa: T201  # whoever runs it listens
            return
        with buffer.writer(spool=options.spool) as out:
            for number in range(out.last, options.count):
                print(out.write(record_of(0, number)), flush=True)  # noqa: T201  # as above
                time.sleep(options.pause)


if __name__ == "__main__":
    main()
