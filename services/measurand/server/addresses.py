"""Addresses before gRPC sees them: whether one is free, and how to keep it for several processes."""

from __future__ import annotations

import errno
import socket
from typing import Literal

from measurand.server.config import Address, ConfigError

__all__ = ["check_free", "hold", "reachable", "refusal"]

EVERY = ("0.0.0.0", "::")  # noqa: S104  # looked for, not listened on
"""Every address of the machine, and so none to be reached at."""


def check_free(address: Address) -> None:
    """Raise ConfigError when nobody could listen there. gRPC would say the same with lines of its own in the log."""
    with _socket(address) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, address)


def hold(address: Address) -> tuple[socket.socket, Address]:
    """Take an address without listening: port 0 becomes one port for all, and a restarted worker finds it free.

    Raises ConfigError when others listen there: they would share it without an error, and without sense.
    """
    check_free(address)
    held = _socket(address)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        _bind(held, address)
    except ConfigError:
        held.close()
        raise
    return held, Address(address.host, held.getsockname()[1])


def reachable(advertise: Address | Literal["auto", "off"], listening: Address, own: Address | None) -> str:
    """Return where other servers of the deployment reach this one. Empty: they do not.

    Parameters
    ----------
    advertise : Address, "auto" or "off"
        What the settings say.
    listening : Address
        Where it takes calls.
    own : Address, optional
        Where it takes calls that no other process gets, if it shares `listening` with others.
    """
    if advertise == "off":
        return ""
    bound = own or listening
    if advertise != "auto":
        return str(Address(advertise.host, bound.port if own or not advertise.port else advertise.port))
    if bound.host not in EVERY:
        return str(bound)
    return str(Address("127.0.0.1", own.port)) if own else ""


def refusal(address: Address, wrong: str) -> ConfigError:
    """Return the error for an address that cannot be listened on."""
    return ConfigError(f"--listen {address}: the address {wrong}; choose another port (0: any free one)")


def _socket(address: Address) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)


def _bind(bound: socket.socket, address: Address) -> None:
    try:
        bound.bind((address.host, address.port))
    except OSError as error:
        wrong = "is taken by another process" if error.errno == errno.EADDRINUSE else f"{error.strerror or error}"
        raise refusal(address, wrong) from error
