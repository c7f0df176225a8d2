"""A process that writes into arrays which others write to at the same time: `python -m tests.end_to_end.slicing …`."""

from __future__ import annotations

import random
import sys

from measurand.client import Client

__all__ = ["plane", "rounds"]

PLANE = (64, 256)
ROUNDS = 20


def plane(number: int) -> object:
    """Return what belongs into a plane of `planes`."""
    import numpy as np

    return np.random.default_rng(number).standard_normal(PLANE).astype("f4")


def rounds(writer: int) -> int:
    """Return what a writer leaves in its part of `shared`."""
    return 1000 * writer + ROUNDS - 1


def main() -> None:
    """Write the planes of one of several writers in random order, then its part of one chunk again and again."""
    address, dataset, writer, writers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with Client(address) as client:
        run = client.catalog("lab").get(dataset)
        planes, shared = run["planes"], run["shared"]
        own = [*range(writer, planes.shape[0], writers)]
        random.Random(writer).shuffle(own)
        for number in own:
            planes[number] = plane(number)
        size = shared.shape[0] // writers
        for turn in range(ROUNDS):
            shared[writer * size : (writer + 1) * size] = 1000 * writer + turn


if __name__ == "__main__":
    main()
