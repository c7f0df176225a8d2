"""What only a bucket has: references, objects that the store copies, requests that fail in the middle."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.plain_places import Bucket
from tests.s3_places import BUCKET, on_seaweed

from measurand.core.arrays.plain_places import Chunk, Item, Text
from measurand.server.crc32c import make_crc32c
from measurand.storage.blobs.s3 import plain as module
from measurand.storage.blobs.s3.client import Client
from measurand.wire.errors import DataLoss, NotFound, TooLarge, Unavailable

crc32c = make_crc32c()
LARGE = bytes(range(256)) * (5 << 12)
SMALL = [b"first", b"second"]
ROOT = Text("zarr.json", b"{}")


class Crash(BaseException):
    """The process is no more."""


@pytest.fixture
async def bucket() -> AsyncIterator[Bucket]:
    bucket = Bucket(on_seaweed())
    await bucket.blobs.put("arrays/u/c.0/own", [LARGE])
    await bucket.blobs.put("arrays/u/c.0/pack", SMALL)
    yield bucket
    await bucket.blobs.close()


def items() -> list[Item]:
    first, second = SMALL
    return [
        Text("iq/zarr.json", '{"µ": "{{x}}"}'.encode()),
        Chunk("iq/c/0", "arrays/u/c.0/own", 0, len(LARGE), crc32c(LARGE, 0)),
        Chunk("iq/c/1", "arrays/u/c.0/pack", 0, 5, crc32c(first, 0)),
        Chunk("µ #1 %20+?/c/2", "arrays/u/c.0/pack", 5, 6, crc32c(second, 0)),
    ]


CONTENT = {
    "run.zarr/iq/zarr.json": '{"µ": "{{x}}"}'.encode(),
    "run.zarr/iq/c/0": LARGE,
    "run.zarr/iq/c/1": SMALL[0],
    "run.zarr/µ #1 %20+?/c/2": SMALL[1],
    "run.zarr/zarr.json": b"{}",
}


async def given(*parts: Sequence[Item]) -> AsyncIterator[Sequence[Item]]:
    for part in parts:
        yield part


def references(bucket: Bucket) -> dict[str, bytes]:
    """Return what a reference file stands for, resolved by hand."""
    file = json.loads(bucket.files()["lab/run.json"])
    assert file["version"] == 1 and set(file) == {"version", "refs"}
    found = {}
    for path, value in file["refs"].items():
        if isinstance(value, str):
            found[f"run.zarr/{path}"] = value.encode()
        else:
            url, offset, size = value
            name = url.removeprefix(f"s3://{BUCKET}/")
            assert name.startswith(f"{bucket.inner.prefix}/blobs/")
            found[f"run.zarr/{path}"] = bucket.get(name)[offset : offset + size]
    return found


def objects(bucket: Bucket) -> dict[str, bytes]:
    return {name.removeprefix("lab/"): content for name, content in bucket.files().items() if name != "lab/run.json"}


async def test_references_say_where_every_chunk_lies(bucket: Bucket) -> None:
    url = await bucket.place.lay_out("lab/run", given(items(), [], [ROOT]))
    assert url == f"s3://{BUCKET}/{bucket.inner.prefix}/sealed/lab/run.json"
    assert references(bucket) == CONTENT
    await bucket.place.lay_out("lab/run", given([], []))
    assert references(bucket) == {}


async def test_references_of_any_number_are_sent_in_parts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 5 << 20)
    data = b"x" * 1000
    many = [Text(f"iq/{number}", data) for number in range(12_000)]
    await bucket.place.lay_out("lab/run", given(*(many[start : start + 64] for start in range(0, len(many), 64))))
    found = references(bucket)
    assert len(found) == 12_000 and set(found.values()) == {data}
    assert not uploads(bucket)


async def test_objects_are_copied_by_the_store_where_a_chunk_is_a_blob_of_its_own(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    call = Client.call

    def counting(self: Client, method: str, name: str, *args: Any, chunks: Any = (), **more: Any) -> Any:
        if method == "PUT":
            sent.append(sum(map(len, chunks)))
        return call(self, method, name, *args, chunks=chunks, **more)

    monkeypatch.setattr(Client, "call", counting)
    places = bucket.place.objects
    assert places is not None
    await places.put("lab/run", items())
    await places.put("lab/run", [ROOT])
    assert places.url("lab/run") == f"s3://{BUCKET}/{bucket.inner.prefix}/sealed/lab/run.zarr"
    assert objects(bucket) == CONTENT
    assert len(sent) == 5 and sum(sent) < 100
    await places.put("lab/run", items())
    assert objects(bucket) == CONTENT


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_request_leaves_the_whole_or_nothing(
    bucket: Bucket, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [[Text(f"iq/{number}", b"x" * 1_000_000) for number in range(start, start + 4)] for start in (0, 4)]
    whole = {f"run.zarr/{text.path}": text.content for part in many for text in part}
    call = Client.call
    for at in range(20):
        calls = 0

        def dying(self: Client, *args: Any, at: int = at, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls <= at:
                return call(self, *args, **more)
            if calls == at + 1 and after:
                call(self, *args, **more)
            raise Crash

        for name in list(bucket.files()):
            bucket.inner.server.client.delete_object(Bucket=BUCKET, Key=f"{bucket.inner.prefix}/sealed/{name}")
        crashed = False
        with monkeypatch.context() as patching:
            patching.setattr(Client, "call", dying)
            try:
                await bucket.place.lay_out("lab/run", given(*many))
            except Crash:
                crashed = True
        assert (references(bucket) if "lab/run.json" in bucket.files() else whole) == whole
        await bucket.place.lay_out("lab/run", given(*many))
        assert references(bucket) == whole
        if not crashed:
            assert at > 3
            return
    raise AssertionError("it did not end within 20 requests")


async def test_a_blob_that_is_gone_and_one_that_is_short_are_told_of(bucket: Bucket) -> None:
    with pytest.raises(NotFound):
        await bucket.place.put("lab/run", [Chunk("iq/c/0", "arrays/u/c.0/none", 0, 4, 0)])
    with pytest.raises(DataLoss):
        await bucket.place.put("lab/run", [Chunk("iq/c/0", "arrays/u/c.0/pack", 5, 60, 0)])
    with pytest.raises(DataLoss):
        await bucket.place.put("lab/run", [Chunk("iq/c/0", "arrays/u/c.0/own", 0, 2 * len(LARGE), 0)])
    assert not objects(bucket)


async def test_a_name_that_no_object_can_have_is_told_of(bucket: Bucket) -> None:
    with pytest.raises(TooLarge, match="reference file"):
        await bucket.place.put("lab/run", [Text("µ" * 500 + "/zarr.json", b"{}")])


async def test_a_store_that_is_away_is_told_of(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(Client, "call", away)
    with pytest.raises(Unavailable):
        await bucket.place.lay_out("lab/run", given(items()))
    with pytest.raises(Unavailable):
        await bucket.place.put("lab/run", items())
    with pytest.raises(Unavailable):
        await bucket.place.remove("lab/run")


async def test_removing_goes_beyond_one_page(bucket: Bucket) -> None:
    await bucket.place.put("lab/run", [Text(f"iq/c/{number}", b"x") for number in range(1100)])
    await bucket.place.put("lab/run2", [ROOT])
    await bucket.place.remove("lab/run")
    assert set(bucket.files()) == {"lab/run2.zarr/zarr.json"}


def uploads(bucket: Bucket) -> list[Any]:
    found = bucket.inner.server.client.list_multipart_uploads(
        Bucket=BUCKET, Prefix=f"{bucket.inner.prefix}/sealed/lab/run.json"
    )
    return list(found.get("Uploads", []))
