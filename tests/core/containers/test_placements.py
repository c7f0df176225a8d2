"""What lies where, as documents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from measurand.core.blob_rules import check_key
from measurand.core.containers.placements import (
    PARTS,
    Part,
    Placement,
    Placements,
    Segment,
    blob_of,
    part_key,
    placement_document,
    placement_of,
)
from measurand.core.placement.policies import Policy
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import AlreadyExists

TIME = datetime(2026, 11, 21, 22, 5, tzinfo=UTC)


def placement(blob: str = "files/a.1", containers: str = "abc") -> Placement:
    return Placement(
        blob=blob,
        uid="0f" * 16,
        size=12,
        data_parts=2,
        parity_parts=1,
        segments=(Segment(10, 200, ((0, 3), (4, 5))), Segment(2, 65)),
        parts=tuple(Part(name, part_key(blob, "abc123", index), index) for index, name in enumerate(containers * 2)),
        policy=Policy(data_parts=2, parity_parts=1, zones=("north",)),
        create_time=TIME,
        modified_time=TIME,
        staged=True,
        missing=(4,),
        verified=TIME,
    )


def test_a_placement_comes_back_from_its_document() -> None:
    for each in (placement(), replace(placement(), staged=False, missing=(), verified=None)):
        assert placement_of(placement_document(each)) == each


@pytest.mark.parametrize("blob", ["a", "files/01abc.1.2", "x" * 170, "x" * 200, "y/" + "z" * 198, "h/" + "0" * 64])
async def test_from_a_part_the_placement_is_found_that_may_name_it(blob: str) -> None:
    placements = Placements(Memory(compile_pattern))
    kept = await placements.insert(placement(blob))
    await placements.insert(placement("another"))
    key = kept.parts[1].key
    check_key(key)
    assert key.startswith(PARTS)
    assert blob_of(key) in (blob, None)
    assert await placements.of_part(key) == kept
    assert await placements.remove(kept)
    assert await placements.of_part(key) is None


async def test_a_placement_is_replaced_only_as_it_was_known() -> None:
    documents = Memory(compile_pattern)
    one, other = Placements(documents), Placements(documents)
    kept = await one.insert(placement())
    with pytest.raises(AlreadyExists):
        await other.insert(placement())
    assert await other.fetch(kept.blob) == kept
    moved = await one.replace(kept.with_parts([Part("d", "p/new", 4)]))
    assert moved is not None
    assert (moved.parts[4].container, moved.missing) == ("d", ())
    assert await other.replace(kept) is None
    assert await other.fetch(kept.blob) == moved
    assert not await other.remove(kept)
    assert await other.remove(moved)
    assert await one.fetch(kept.blob) == moved  # from memory: it may be stale
    assert await one.fetch(kept.blob, fresh=True) is None


async def test_placements_are_found_by_container_and_by_prefix() -> None:
    placements = Placements(Memory(compile_pattern))
    for blob, containers in (("files/a", "abc"), ("files/b", "bcd"), ("packs/a", "cde")):
        await placements.insert(placement(blob, containers))
    assert [each.blob for each in await placements.find(container="b")] == ["files/a", "files/b"]
    assert [each.blob for each in await placements.find("files/")] == ["files/a", "files/b"]
    assert [each.blob for each in await placements.find(after="files/a", limit=1)] == ["files/b"]


def test_the_margin_is_that_of_the_segment_that_has_lost_most() -> None:
    each = placement()
    assert each.margin(()) == 1
    assert each.margin([0, 4]) == 0
    assert each.margin([0, 1, 4]) == -1
    assert each.stored_bytes == (200 + 65) * 3
