"""Kills a process in the middle of laying out in a folder, before each of its calls of the file system in turn.

Run in a process of its own: it forks, and tells on standard output at how many places it has killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from tests.core.rooms import Direct

from measurand.core.arrays.plain_places import Chunk, Item, Text
from measurand.server.crc32c import make_crc32c
from measurand.storage.blobs.local import Local

CALLS = {"open", "os.link", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.scandir"}
ITEMS = {
    "zarr.json": b"{}",
    "iq/zarr.json": b"{ }",
    "iq/c/0/0": b"first chunk",
    "iq/c/0/1": b"second",
    "iq/c/1/0": b"third",
}
KILLED = 9


def local(root: Path) -> Local:
    return Local(root, in_thread=Direct())


async def items(crc: int) -> AsyncIterator[Sequence[Item]]:
    texts = [Text(path, content) for path, content in ITEMS.items() if path.endswith("zarr.json")]
    yield texts
    yield [Chunk("iq/c/0/0", "arrays/own", 0, 11, crc)]
    pack = b"secondthird"
    check = make_crc32c()
    yield [
        Chunk("iq/c/0/1", "arrays/pack", 0, 6, check(pack[:6], 0)),
        Chunk("iq/c/1/0", "arrays/pack", 6, 5, check(pack[6:], 0)),
    ]


async def prepare(root: Path) -> None:
    blobs = local(root)
    await blobs.put("arrays/own", [ITEMS["iq/c/0/0"]])
    await blobs.put("arrays/pack", [b"secondthird"])
    await blobs.close()


async def lay_out(root: Path) -> None:
    blobs, check = local(root), make_crc32c()
    await blobs.plain(check).lay_out("lab/run", items(check(ITEMS["iq/c/0/0"], 0)))
    await blobs.close()


def found(root: Path) -> Mapping[str, bytes]:
    place = root / "sealed/lab/run.zarr"
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def killed_at(root: Path, at: int) -> bool:
    """Lay out in a child that dies before its call number `at`, and tell whether it came so far."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, KILLED)
        return os.waitstatus_to_exitcode(status) == KILLED
    calls = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal calls
        if event in CALLS:
            calls += 1
            if calls > at:
                os._exit(KILLED)  # as a kill: nothing is tidied up

    try:
        sys.addaudithook(watch)
        asyncio.run(lay_out(root))
    except BaseException:
        os._exit(1)
    os._exit(0)


def main(folder: Path) -> None:
    for is_again in (False, True):  # with nothing there, and with an older layout in the place
        at = 0
        while True:
            root = folder / f"{is_again:d}-{at}"
            asyncio.run(prepare(root))
            if is_again:
                asyncio.run(lay_out(root))
            was_killed = killed_at(root, at)
            seen = found(root)
            assert seen == ITEMS or (not seen and was_killed), (at, seen)
            asyncio.run(lay_out(root))
            assert found(root) == ITEMS
            assert [path.name for path in (root / "sealed/lab").iterdir()] == ["run.zarr"]
            if not was_killed:
                break
            at += 1
        sys.stdout.write(f"{at}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
