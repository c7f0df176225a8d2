"""The objects of real servers: safe keys, and each put once."""

from __future__ import annotations

import random

import pytest
from tests.end_to_end.object_rounds import OVER_CONTAINERS, keep_nasty_keys, put_where_answers_are_lost
from tests.servers import Server
from tests.stores import Site

from measurand.client import Catalog, Client

pytestmark = [pytest.mark.usefixtures("_own_places"), pytest.mark.stores("embedded")]


@pytest.mark.parametrize("storage", [None, OVER_CONTAINERS])
def test_nasty_keys_are_objects_and_no_names_on_disks(site: Site, storage: str | None) -> None:
    with site.running(*(() if storage is None else ("--containers", "6"))) as server, Client(server.address) as client:
        objects = client.create_catalog("lab").objects("cache", storage=storage)
        keep_nasty_keys(objects, site.folder, 200, seed=random.randrange(1 << 32))


def test_puts_whose_answers_are_lost_make_one_generation_each(shared: Server, lab: Catalog) -> None:
    put_where_answers_are_lost(shared.address, lab, 200, seed=random.randrange(1 << 32))
