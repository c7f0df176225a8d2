"""Where other servers of a deployment reach a server."""

from __future__ import annotations

from typing import Literal

import pytest

from measurand.server.addresses import reachable
from measurand.server.config import Address, load

HERE, EVERYWHERE, OTHER = Address("10.0.0.5", 50051), Address("0.0.0.0", 50051), Address("lab-1", 7000)
OWN, OWN_EVERYWHERE = Address("10.0.0.5", 40001), Address("0.0.0.0", 40001)


@pytest.mark.parametrize(
    ("advertise", "listening", "own", "address"),
    [
        ("auto", HERE, None, "10.0.0.5:50051"),
        ("auto", EVERYWHERE, None, ""),
        ("auto", Address("::", 1), None, ""),
        ("auto", Address("::1", 1), None, "[::1]:1"),
        ("off", HERE, None, ""),
        ("off", HERE, OWN, ""),
        (OTHER, EVERYWHERE, None, "lab-1:7000"),
        (Address("lab-1", 0), EVERYWHERE, None, "lab-1:50051"),
        ("auto", HERE, OWN, "10.0.0.5:40001"),
        ("auto", EVERYWHERE, OWN_EVERYWHERE, "127.0.0.1:40001"),
        (OTHER, EVERYWHERE, OWN_EVERYWHERE, "lab-1:40001"),
    ],
)
def test_a_server_is_reached_where_it_listens_unless_the_settings_say_otherwise(
    advertise: Address | Literal["auto", "off"], listening: Address, own: Address | None, address: str
) -> None:
    assert reachable(advertise, listening, own) == address


def test_the_settings_take_an_address_or_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load({}).advertise == "auto"
    for text, value in (("off", "off"), ("lab-1:7000", OTHER)):
        monkeypatch.setenv("MEASURAND_ADVERTISE", text)
        assert load({}).advertise == value
