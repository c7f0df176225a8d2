"""What a server says on standard output when it serves. The first line is also read by programs that started it."""

from __future__ import annotations

import sys

from measurand.server.config import Address, Config

__all__ = ["greeting", "say"]

DEFAULT = Address("127.0.0.1", 50051)


def greeting(config: Config, address: Address) -> list[str]:
    """Return what a person is told at the start: the address, where the data is, and what to try next."""
    places = config.documents_place, config.blobs_place
    place = str(config.data) if config.uses_folder else " and ".join(map(str, places))
    if places[0].kind == "memory":
        place = "memory: all of it is gone when the server ends"
    url = "" if address == DEFAULT else f"MEASURAND_URL={address} "
    return [
        f"listening on {address}",
        f"data in {place}",
        "try next:",
        f"  {url}measurand put FOLDER lab --create --title 'first light' --meta temperature=0.012",
        f"  {url}measurand find lab 'metadata.temperature < 0.02'",
        f"  {url}measurand ls lab",
    ]


def say(*lines: str) -> None:
    """Write lines to standard output at once; whoever started the server may wait for them."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
