"""A program that fills its share of an array of known length, frame by frame in random order."""

from __future__ import annotations

import random
import sys

import numpy as np

from measurand.client import Client

__all__ = ["ELEMENTS"]

ELEMENTS = 1024


def main() -> None:
    """Write every `writers`-th frame, beginning with `writer`, each filled with its own number."""
    address, dataset, name, length, writer, writers = sys.argv[1:]
    frames = [*range(int(writer), int(length), int(writers))]
    random.Random(int(writer)).shuffle(frames)
    with (
        Client(address) as client,
        client.dataset(dataset).stream_array(name, ELEMENTS, "f8", length=int(length)) as stream,
    ):
        for frame in frames:
            stream.write(np.full(ELEMENTS, frame, "f8"), index=frame)


if __name__ == "__main__":
    main()
