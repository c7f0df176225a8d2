from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import scalars

from measurand.core.limits import Limits
from measurand.core.paging import Start, make_token, open_token, page_size
from measurand.core.ports import Position
from measurand.core.view import Scalar
from measurand.wire.errors import InvalidArgument, PageTokenInvalid

FIRST = datetime(2026, 11, 21, 10, 25, 32, 123456, tzinfo=UTC)
LATER = FIRST + timedelta(hours=1)
REQUEST = ("ListDatasets", "catalogs/lab", "a = 1", "created desc")
AFTER = Position((Scalar("t", 5),), "catalogs/lab/datasets/x")

_orderable = scalars().filter(
    lambda scalar: scalar.kind in "nbt" or (scalar.kind == "s" and len(str(scalar.value)) < 200)
)


@given(st.lists(st.none() | _orderable, max_size=4), st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_token_gives_back_position_and_time_of_the_first_page(values: list[Scalar | None], key: str) -> None:
    after = Position(tuple(values), key)
    token = make_token(after, request=REQUEST, now=FIRST)
    start = open_token(token, request=REQUEST, values=len(values), now=LATER)
    assert start == Start(after, FIRST)
    assert start.after is not None
    assert [type(scalar and scalar.value) for scalar in start.after.values] == [type(s and s.value) for s in values]
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_without_a_token_the_first_page_begins_now() -> None:
    assert open_token("", request=REQUEST, values=1, now=LATER) == Start(None, LATER)


@pytest.mark.parametrize(
    "other",
    [
        ("CountDatasets", *REQUEST[1:]),
        ("ListDatasets", "catalogs/-", "a = 1", "created desc"),
        ("ListDatasets", "catalogs/lab", "a = 2", "created desc"),
        ("ListDatasets", "catalogs/lab", "a = 1", "created"),
        ("ListDatasets", "catalogs/lab", "a = 1created desc", ""),
        (*REQUEST, ""),
    ],
)
def test_a_token_of_another_request_is_refused(other: tuple[str, ...]) -> None:
    token = make_token(AFTER, request=REQUEST, now=FIRST)
    with pytest.raises(PageTokenInvalid, match="another request"):
        open_token(token, request=other, values=1, now=LATER)


def changed(**parts: object) -> str:
    """A token with some of its parts forged."""
    token = make_token(AFTER, request=REQUEST, now=FIRST)
    content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for name, value in parts.items():
        content[["version", "digest", "now", "values", "key"].index(name)] = value
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def test_the_forger_of_these_tests_can_leave_a_token_as_it_is() -> None:
    assert open_token(changed(), request=REQUEST, values=1, now=LATER) == Start(AFTER, FIRST)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!!!",
        "é",
        "\ud800",
        "A" * 70_000,
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xff").decode(),
        base64.urlsafe_b64encode(b"[1, 2]").decode(),
        base64.urlsafe_b64encode(b"1" * 5000).decode(),
        changed(version=2),
        changed(digest=None),
        changed(now="x"),
        changed(now=True),
        changed(now=10**18),
        changed(now=10**30),
        changed(values=[]),
        changed(values=[None, None]),
        changed(values={"a": 1}),
        changed(values=[1]),
        changed(values=[["z", None]]),
        changed(values=[["n", "1"]]),
        changed(values=[["n", True]]),
        changed(values=[["n", float("nan")]]),
        changed(values=[["n", 2**63]]),
        changed(values=[["t", 1.5]]),
        changed(values=[["t", float("inf")]]),
        changed(values=[["b", 1]]),
        changed(values=[["s", "x" * 1025]]),
        changed(values=[["s", "\ud800"]]),
        changed(values=[["s", {"$gt": ""}]]),
        changed(key=5),
        changed(key="\ud800"),
        changed(key="é" * 1001),
    ],
    ids=lambda token: ascii(token)[:40],
)
def test_a_malformed_or_forged_token_is_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid, match="malformed"):
        open_token(token, request=REQUEST, values=1, now=LATER)


def test_a_page_has_the_default_size_and_never_more_than_the_most() -> None:
    limits = Limits(default_page_size=100, max_page_size=1000)
    assert [page_size(requested, limits) for requested in (0, 1, 1000, 1001, 2**31 - 1)] == [100, 1, 1000, 1000, 1000]
    with pytest.raises(InvalidArgument) as caught:
        page_size(-1, limits)
    assert caught.value.details["field"] == "page_size"
