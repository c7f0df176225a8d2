"""Clients write and read while containers break, in rounds: what was acknowledged comes back as it was."""

from __future__ import annotations

import pytest
from tests.spread_rounds import play


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_was_acknowledged_survives_two_rounds_of_losses(seed: int) -> None:
    assert await play(seed) > 10


async def test_fifty_clients_lose_nothing() -> None:
    assert await play(4, clients=50) > 50
