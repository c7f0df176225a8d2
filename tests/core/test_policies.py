"""Which policy holds for new bytes, and how soon a change counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.core.rooms import Rooms, make_rooms, prepare

from measurand.core import policies as policies_module
from measurand.core.catalog_documents import CatalogDraft
from measurand.core.dataset_edits import DatasetDraft, DatasetEdit
from measurand.core.names import CatalogName, DatasetName
from measurand.core.placement.policies import Policy
from measurand.core.policies import REMEMBERED_SECONDS, Policies
from measurand.core.ports import Document
from measurand.core.principal import LOCAL_USER

LAB, RUN = CatalogName("lab"), DatasetName("lab", "run")
THREE, CODED = Policy(replicas=3), Policy(data_parts=4, parity_parts=2, zones=("north",))


class Counted:
    """Documents that count how often one is fetched."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.fetched: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def fetch(self, collection: str, key: str) -> Document | None:
        self.fetched.append(key)
        found: Document | None = await self._store.fetch(collection, key)
        return found


@pytest.fixture
async def rooms() -> Rooms:
    rooms = make_rooms()
    await prepare(rooms)
    return rooms


def policies_of(rooms: Rooms) -> tuple[Policies, Counted]:
    counted: Any = Counted(rooms.documents)
    return Policies(counted, rooms.means), counted


async def say(rooms: Rooms, catalog: Policy | None, dataset: Policy | None) -> None:
    await rooms.catalogs.update(LOCAL_USER, LAB, CatalogDraft(storage_policy=catalog), ["storage_policy"])
    edit = DatasetEdit(DatasetDraft(storage_policy=dataset), fields=("storage_policy",))
    await rooms.datasets.update(LOCAL_USER, RUN, edit)


@pytest.mark.parametrize(
    ("catalog", "dataset", "holds"),
    [(None, None, None), (THREE, None, THREE), (None, CODED, CODED), (THREE, CODED, CODED)],
)
async def test_the_datasets_own_goes_over_that_of_its_catalog(
    rooms: Rooms, catalog: Policy | None, dataset: Policy | None, holds: Policy | None
) -> None:
    await say(rooms, catalog, dataset)
    policies, _ = policies_of(rooms)
    assert await policies.of(RUN) == holds
    assert await policies.of(LAB) == catalog


async def test_many_writes_ask_once_and_a_change_counts_after_a_few_seconds(rooms: Rooms) -> None:
    await say(rooms, THREE, None)
    policies, counted = policies_of(rooms)
    for _ in range(100):
        assert await policies.of(RUN) == THREE
    assert sorted(counted.fetched) == [str(LAB), str(RUN)]
    await say(rooms, CODED, None)
    rooms.clock.move(timedelta(seconds=REMEMBERED_SECONDS - 0.1))
    assert await policies.of(RUN) == THREE
    rooms.clock.move(timedelta(seconds=0.1))
    assert await policies.of(RUN) == CODED
    await say(rooms, None, None)
    rooms.clock.move(timedelta(seconds=REMEMBERED_SECONDS))
    assert await policies.of(RUN) is None


async def test_what_has_not_been_asked_for_longest_is_forgotten(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies_module, "REMEMBERED", 3)
    policies, counted = policies_of(rooms)

    async def asked(names: Sequence[str]) -> list[str]:
        counted.fetched.clear()
        for name in names:
            await policies.of(CatalogName(name))
        return counted.fetched

    assert await asked("abc") == ["catalogs/a", "catalogs/b", "catalogs/c"]
    assert await asked("bcd") == ["catalogs/d"]
    assert await asked("a") == ["catalogs/a"]
