"""What several tests of stores need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.storage.cache import Cache, MakeCache


@pytest.fixture
async def make_cache(tmp_path: Path) -> AsyncIterator[MakeCache]:
    made: list[Cache] = []

    def make(**settings: Any) -> Cache:
        made.append(Cache(tmp_path / "cache", **settings))
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    return make_cache()
