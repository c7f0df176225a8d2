"""A program that looks at an array while it grows, and says what it saw when it has seen enough."""

from __future__ import annotations

import json
import sys

from measurand.client import Client


def main() -> None:
    """Follow an array of frames, each filled with its own row, up to a length."""
    address, dataset, name, length = sys.argv[1:]
    lengths: list[int] = []
    torn: list[int] = []
    with Client(address) as client:
        array = client.dataset(dataset)[name]
        sys.stdout.write("looking\n")
        sys.stdout.flush()
        for rows in array.watch():
            lengths.append(rows)
            first = max(0, rows - 2)
            torn += [first + at for at, frame in enumerate(array[first:rows]) if (frame != first + at).any()]
            if rows >= int(length):
                break
    sys.stdout.write(json.dumps({"lengths": lengths, "torn": torn}))


if __name__ == "__main__":
    main()
