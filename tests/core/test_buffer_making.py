"""Making, describing, finishing and removing buffers, and what is said when that is done twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.core.buffer_rooms import BufferRooms, start_buffers
from tests.core.rooms import make_rooms, prepare

from measurand.core.buffers.buffers import BufferDraft
from measurand.core.buffers.heads import EventKind, Policy, State
from measurand.core.catalog_documents import CatalogDraft
from measurand.core.names import BufferName, CatalogName
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    AlreadyExists,
    Conflict,
    Frozen,
    InvalidArgument,
    NameInvalid,
    NotFound,
    PageTokenInvalid,
    RequestIdReused,
    ResourceInUse,
    TooLarge,
)

LAB = CatalogName("lab")
DRAFT = BufferDraft("live", "what the detector says", '{"site":"H1"}', Policy(freeze_after_records=10))


async def start() -> BufferRooms:
    rooms = make_rooms()
    await prepare(rooms)
    return BufferRooms(rooms)


async def test_a_new_buffer_is_active_and_empty() -> None:
    buffers = await start()
    made = await buffers.buffers.create(LOCAL_USER, LAB, DRAFT)
    there = await buffers.another().buffers.get(LOCAL_USER, buffers.name)
    assert there == made
    assert (there.state, there.window, there.window_records, there.window_counted) == (State.ACTIVE, 1, 0, 0)
    assert (there.next_sequence, there.first_sequence, there.description) == (1, 1, DRAFT.description)
    assert (there.metadata, there.policy) == ('{"site":"H1"}', DRAFT.policy)
    assert [event.kind for event in there.events] == [EventKind.CREATED]


async def test_a_repeated_request_makes_one_buffer_even_after_it_was_changed() -> None:
    buffers = await start()
    made = await buffers.buffers.create(LOCAL_USER, LAB, DRAFT, request_id="make it")
    await buffers.buffers.update(
        LOCAL_USER, buffers.name, BufferDraft(description="new"), ["description"], request_id="change it"
    )
    again = await buffers.buffers.create(LOCAL_USER, LAB, DRAFT, request_id="make it")
    assert (again.uid, again.description) == (made.uid, "new")
    with pytest.raises(RequestIdReused):
        await buffers.buffers.create(LOCAL_USER, LAB, BufferDraft("live"), request_id="make it")
    with pytest.raises(AlreadyExists):
        await buffers.buffers.create(LOCAL_USER, LAB, DRAFT)
    with pytest.raises(AlreadyExists):
        await buffers.buffers.create(LOCAL_USER, LAB, DRAFT, request_id="another")
    buffers.rooms.clock.move(timedelta(days=2))
    with pytest.raises(AlreadyExists):
        await buffers.buffers.create(LOCAL_USER, LAB, DRAFT, request_id="make it")


async def test_one_of_many_that_make_a_buffer_makes_it() -> None:
    buffers = await start()
    made = await asyncio.gather(
        *(buffers.another().buffers.create(LOCAL_USER, LAB, DRAFT) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(outcome, AlreadyExists) for outcome in made) == 9


@pytest.mark.parametrize(
    ("draft", "error"),
    [
        (BufferDraft(""), NameInvalid),
        (BufferDraft("Live!"), NameInvalid),
        (BufferDraft("live", "x" * 10_001), InvalidArgument),
        (BufferDraft("live", metadata="[]"), InvalidArgument),
        (BufferDraft("live", metadata={"x": "y" * 65_536}), TooLarge),
        (BufferDraft("live", policy=Policy(freeze_after_records=-1)), InvalidArgument),
        (BufferDraft("live", policy=Policy(keep_batches=-1)), InvalidArgument),
        (BufferDraft("live", policy=Policy(freeze_after_age=timedelta())), InvalidArgument),
    ],
)
async def test_a_bad_buffer_is_not_made(draft: BufferDraft, error: type[Exception]) -> None:
    buffers = await start()
    with pytest.raises(error):
        await buffers.buffers.create(LOCAL_USER, LAB, draft)
    assert not (await buffers.buffers.page(LOCAL_USER, LAB)).heads


async def test_an_update_replaces_what_is_named_and_nothing_else() -> None:
    buffers = await start()
    made = await buffers.buffers.create(LOCAL_USER, LAB, DRAFT)
    await buffers.append(b"x")
    assert (await buffers.head()).etag == made.etag  # appends do not change it
    draft = BufferDraft(description="new", policy=Policy(freeze_after_bytes=7))
    new = await buffers.buffers.update(LOCAL_USER, buffers.name, draft, ["description", "policy"], etag=made.etag)
    assert (new.description, new.policy, new.metadata) == ("new", draft.policy, made.metadata)
    assert new.etag != made.etag
    with pytest.raises(Conflict):
        await buffers.buffers.update(LOCAL_USER, buffers.name, draft, ["metadata"], etag=made.etag)
    patched = await buffers.buffers.update(LOCAL_USER, buffers.name, BufferDraft(), [], patch='{"run":3}')
    assert patched.metadata == '{"site":"H1","run":3}'
    same = await buffers.buffers.update(LOCAL_USER, buffers.name, draft, ["description", "policy"])
    assert same.etag == patched.etag
    with pytest.raises(InvalidArgument):
        await buffers.buffers.update(LOCAL_USER, buffers.name, draft, ["state"])
    with pytest.raises(InvalidArgument):
        await buffers.buffers.update(LOCAL_USER, buffers.name, draft, ["metadata"], patch="{}")
    assert [event.kind for event in (await buffers.head()).events].count(EventKind.UPDATED) == 2
    await buffers.close()


async def test_a_repeated_update_is_done_once() -> None:
    buffers = await start_buffers()
    draft = BufferDraft(description="new")
    first = await buffers.buffers.update(LOCAL_USER, buffers.name, draft, ["description"], request_id="r")
    again = await buffers.buffers.update(LOCAL_USER, buffers.name, draft, ["description"], request_id="r")
    assert again.etag == first.etag
    with pytest.raises(RequestIdReused):
        await buffers.buffers.update(
            LOCAL_USER, buffers.name, BufferDraft(description="x"), ["description"], request_id="r"
        )


async def test_updates_at_several_servers_all_come_about_while_records_come() -> None:
    buffers = await start_buffers()
    servers = [buffers.another() for _ in range(3)]
    await asyncio.gather(
        *(
            server.buffers.update(LOCAL_USER, buffers.name, BufferDraft(), [], patch=f'{{"{place}-{number}":1}}')
            for place, server in enumerate(servers)
            for number in range(5)
        ),
        *(server.append(b"x") for server in servers for _ in range(50)),
    )
    assert (await buffers.head()).metadata.count(":1") == 15
    assert len(await buffers.check()) == 150
    for server in servers:
        await server.close()


async def test_a_note_is_an_event_and_a_repeated_one_is_the_same() -> None:
    buffers = await start_buffers()
    first = await buffers.buffers.note(LOCAL_USER, buffers.name, "the laser is off", request_id="n")
    again = await buffers.buffers.note(LOCAL_USER, buffers.name, "the laser is off", request_id="n")
    assert again == first
    assert (first.kind, first.number, first.message) == (EventKind.NOTE, 2, "the laser is off")
    assert (await buffers.buffers.note(LOCAL_USER, buffers.name, "the laser is off")).number == 3
    for message in ("", "x" * 10_001):
        with pytest.raises(InvalidArgument):
            await buffers.buffers.note(LOCAL_USER, buffers.name, message)


async def test_a_finished_buffer_stays_finished() -> None:
    buffers = await start_buffers()
    first = await buffers.buffers.finish(LOCAL_USER, buffers.name, "catalogs/lab/buffers/next")
    assert (first.state, first.next_buffer) == (State.FINISHED, "catalogs/lab/buffers/next")
    assert (await buffers.buffers.finish(LOCAL_USER, buffers.name)).etag == first.etag
    with pytest.raises(InvalidArgument):
        await buffers.buffers.finish(LOCAL_USER, buffers.name, str(buffers.name))
    frozen = await start_buffers()
    await frozen.freeze()
    with pytest.raises(Frozen):
        await frozen.buffers.finish(LOCAL_USER, frozen.name)


async def test_a_frozen_buffer_is_frozen_after_a_restart() -> None:
    buffers = await start_buffers()
    await buffers.append(b"1", b"22")
    before = await buffers.freeze("users/trainer")
    after = await buffers.another().buffers.get(LOCAL_USER, buffers.name)
    assert after == before
    assert (after.state, after.window_records, after.window_counted) == (State.FROZEN, 2, 3)
    await buffers.close()


async def test_pages_have_each_buffer_once_by_name() -> None:
    buffers = await start()
    await buffers.rooms.catalogs.create(LOCAL_USER, "other", CatalogDraft())
    names = [BufferName("lab", f"b{number}") for number in range(5)] + [BufferName("other", "b9")]
    for name in names:
        await buffers.buffers.create(LOCAL_USER, name.parent, BufferDraft(name.buffer))
    await buffers.buffers.delete(LOCAL_USER, names[2])
    seen, token = [], ""
    while True:
        page = await buffers.buffers.page(LOCAL_USER, LAB, size=2, page_token=token)
        seen += [head.name for head in page.heads]
        token = page.next_page_token
        if not token:
            break
    assert seen == [name for name in names[:5] if name != names[2]]
    everywhere = await buffers.buffers.page(LOCAL_USER, None, size=3)
    assert len((await buffers.buffers.page(LOCAL_USER, None)).heads) == 5
    with pytest.raises(PageTokenInvalid):
        await buffers.buffers.page(LOCAL_USER, LAB, page_token=everywhere.next_page_token)
    with pytest.raises(NotFound):
        await buffers.buffers.page(LOCAL_USER, CatalogName("none"))


async def test_a_removed_buffer_is_gone_and_can_be_made_anew() -> None:
    buffers = await start_buffers()
    await buffers.append(b"x")
    first = await buffers.head()
    with pytest.raises(ResourceInUse):
        await buffers.buffers.delete(LOCAL_USER, buffers.name)
    with pytest.raises(Conflict):
        await buffers.buffers.delete(LOCAL_USER, buffers.name, etag="another", force=True)
    await buffers.buffers.delete(LOCAL_USER, buffers.name, etag=first.etag, force=True)
    for call in (
        buffers.buffers.get(LOCAL_USER, buffers.name),
        buffers.buffers.delete(LOCAL_USER, buffers.name),
        buffers.buffers.note(LOCAL_USER, buffers.name, "x"),
        buffers.append(b"x"),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await buffers.create()).uid != first.uid
    assert (await buffers.append(b"y")).first == 1
    assert [record.data for record in await buffers.check()] == [b"y"]
    await buffers.close()
