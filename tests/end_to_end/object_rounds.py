"""What holds for objects of real servers, with counts by choice. Tests run few, the soak as many as were promised."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.nasty_keys import nasty_keys
from tests.relay import relay
from tests.stores import open_site

from measurand.client import Catalog, Client, Objects

__all__ = ["OVER_CONTAINERS", "keep_nasty_keys", "put_where_answers_are_lost", "run"]

OVER_CONTAINERS = "erasure:4+2"
MADE_BY_THE_SERVER = re.compile(r"[a-z0-9+._-]+", re.IGNORECASE)


def keep_nasty_keys(objects: Objects, folder: Path, count: int, seed: int) -> None:
    """Put, list, read and evict so many nasty keys one by one; raises where two collide or one becomes a name.

    Parameters
    ----------
    folder : Path
        All that the server keeps lies below it.
    """
    keys = nasty_keys(count, seed)
    content = {key: str(number).encode() * (number % 50) for number, key in enumerate(keys)}
    for key in keys[: count // 4]:
        objects.put(content[key], key)
    objects.put_batch({key: content[key] for key in keys[count // 4 :]})
    content["..a/large"] = random.Random(seed).randbytes(3 << 20)
    keys.append(objects.put(content["..a/large"], "..a/large"))
    assert [file.path for file in objects.list()] == sorted(keys, key=str.encode)
    assert objects.get_batch(keys) == [content[key] for key in keys]
    names = {path.name for path in folder.rglob("*")}
    assert not [name for name in names if not MADE_BY_THE_SERVER.fullmatch(name)]
    assert not {part for key in keys for part in key.split("/") if len(part) > 2} & names
    gone = keys[: count // 8]
    for key in gone:
        assert objects.get(key) == content[key]
        objects.evict(key)
        assert key not in objects
    assert [file.path for file in objects.list()] == sorted(keys[len(gone) :], key=str.encode)


def put_where_answers_are_lost(address: str, lab: Catalog, count: int, seed: int) -> None:
    """Put so many objects over a network that loses 30 % of the answers; raises where one is not there just once."""
    chance = random.Random(seed)
    with relay(address, lambda name: name == "PutFile" and chance.random() < 0.3) as passing:
        with Client(passing.address) as client, ThreadPoolExecutor(8) as pool:
            objects = client.catalog(lab.id).objects
            keys = list(pool.map(lambda number: objects.put(b"%d" % number, f"k{number:05}"), range(count)))
        assert passing.lost
    files = lab.get("objects").files(show_superseded=True)
    assert [file.path for file in files] == sorted(keys)
    assert lab.objects.get_batch(keys) == [b"%d" % number for number in range(count)]


def run(count: int, seed: int) -> Iterator[str]:
    """Do both on the local disk, with one copy and over containers; yields what was done."""
    for storage in (None, OVER_CONTAINERS) if count else ():
        with (
            tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
            open_site("embedded", Path(folder) / "store") as site,
            site.running(*(() if storage is None else ("--containers", "6"))) as server,
            Client(server.address) as client,
        ):
            lab = client.create_catalog("lab", storage=storage)
            keep_nasty_keys(lab.objects("cache"), site.folder, 2 * count, seed)
            put_where_answers_are_lost(server.address, lab, count, seed)
        yield storage or "single"
