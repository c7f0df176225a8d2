"""A program that saves one measurement and ends: what the rounds kill and run again."""

from __future__ import annotations

import sys

from tests.end_to_end.save_rounds import measurement

from measurand.client import Client


def main() -> None:
    """Save the measurement of a seed."""
    address, catalog, seed = sys.argv[1:]
    with Client(address) as client:
        client.catalog(catalog).save(measurement(int(seed)), request_id=f"save-{seed}")


if __name__ == "__main__":
    main()
