"""A measurement: a program that streams frames into an array and ends. What the rounds kill and run again."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from measurand.client import Client

__all__ = ["ELEMENTS", "frame_of"]

ELEMENTS = 2048


def frame_of(row: int, mark: int) -> np.ndarray[Any, Any]:
    """Return the frame of a row: 8 KiB that no codec shrinks; its first two numbers tell the row and the run."""
    frame = np.random.default_rng(row).integers(0, 1 << 32, ELEMENTS, "u4")
    frame[:2] = row, mark
    return frame


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Stream the frames that are left of so many, and print where it begins and the row of each that was taken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("dataset", help="catalog/dataset")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--mark", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="frames in a second; 0: as fast as they are taken")
    parser.add_argument("--spool", type=Path)
    options = parser.parse_args()
    with (
        Client(options.address) as client,
        client.dataset(options.dataset).stream_array(
            "frames", ELEMENTS, "u4", resume=True, spool=options.spool
        ) as stream,
    ):
        first = stream.next_index
        assert isinstance(first, int)
        say(f"begins at {first}")
        begin = time.monotonic()
        for number, row in enumerate(range(first, options.count)):
            stream.write(frame_of(row, options.mark))
            say(str(row))
            if options.rate:
                time.sleep(max(0.0, begin + (number + 1) / options.rate - time.monotonic()))


if __name__ == "__main__":
    main()
