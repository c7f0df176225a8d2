"""A program that uploads one file and ends: what the rounds kill and run again."""

from __future__ import annotations

import sys

from measurand.client import Client


def main() -> None:
    """Upload `source` as `path` into a dataset that is there."""
    address, catalog, dataset, source, path = sys.argv[1:]
    with Client(address) as client:
        client.catalog(catalog).get(dataset).upload(source, path)


if __name__ == "__main__":
    main()
