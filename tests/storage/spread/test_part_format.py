"""What the page about part files says: anybody can put an object together again, without measurand."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.spreading import StillSites, noise, spread_over

from measurand.core.containers.placements import Placement, Placements
from measurand.core.ports import Blob
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.local import Local
from measurand.storage.documents.memory import Memory

PAGE = Path(__file__).parents[3] / "docs" / "part-format.md"
MiB = 1 << 20


def script(folder: Path) -> Path:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(code.splitlines()) <= 60
    path = folder / "rebuild.py"
    path.write_text(code)
    return path


def rebuild(folder: Path, made: Path, size: int, parts: Iterable[Path], *options: str) -> int:
    """Run the script of the page, which knows nothing of the environment (-I) nor, by -S, of any package."""
    command = [sys.executable, "-I", *options, str(script(folder)), str(made), str(size), *map(str, parts)]
    return subprocess.run(command, check=False, timeout=60, capture_output=True).returncode


async def write(root: Path, policy: str, data: bytes) -> tuple[Placement, dict[int, Path]]:
    """Write a blob bit by bit, with short stripes and several segments, and return the file of each part."""
    roots = {f"c{index}": root / f"c{index}" for index in range(6)}
    sites = StillSites({name: Local(path, in_thread=asyncio.to_thread) for name, path in roots.items()})
    documents = Memory(compile_pattern)
    store = spread_over(sites, documents, policy, most_part_bytes=MiB)
    stage = await store.stage("files/a.1")
    for at in range(0, len(data), 700_000):
        await stage.append([data[at : at + 700_000]])
        if at % 4:
            await stage.persist()
    await stage.persist()
    await stage.close()
    size = len(data) - 5_000  # less than was written
    assert await store.finish("files/a.1", size) == Blob("files/a.1", size)
    placement = await Placements(documents).fetch("files/a.1")
    assert placement is not None
    for container in sites.stores.values():
        await container.close()
    await store.close()
    files = {}
    for part in placement.parts:
        (files[part.index],) = roots[part.container].glob(f"blobs/*/{part.key.replace('/', '+')}")
    return placement, files


@pytest.mark.parametrize("policy", ["erasure:4+2", "erasure:2+3", "replicate:3"])
async def test_an_object_is_put_together_from_any_enough_of_its_parts(policy: str, tmp_path: Path) -> None:
    data = noise(5 * MiB + 321)
    placement, files = await write(tmp_path, policy, data)
    assert len(placement.segments) > 1
    width, parity_parts = placement.width, placement.parity_parts
    kept = [path for index, path in files.items() if (index + index // width) % width >= parity_parts]
    assert len(kept) == placement.data_parts * len(placement.segments)
    made = tmp_path / "made"
    assert rebuild(tmp_path, made, placement.size, kept, "-S") == 0
    assert made.read_bytes() == data[:-5_000]


async def test_damaged_pieces_are_left_out_where_sums_can_be_checked(tmp_path: Path) -> None:
    data = noise(MiB)
    placement, files = await write(tmp_path, "erasure:2+1", data)
    damaged = bytearray(files[0].read_bytes())
    damaged[70] ^= 1
    files[0].write_bytes(damaged)
    made = tmp_path / "made"
    assert rebuild(tmp_path, made, placement.size, files.values()) == 0
    assert made.read_bytes() == data[:-5_000]
    assert rebuild(tmp_path, made, placement.size, [files[0], files[1]]) != 0
