from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import filters, views

from measurand.core.filters.evaluate import glob_matches, holds
from measurand.core.filters.fields import Field
from measurand.core.filters.parser import parse_filter
from measurand.core.filters.tree import And, Filter, Not, Or
from measurand.core.searchable import entries, texts, view_of_metadata
from measurand.core.view import View
from measurand.server.patterns import compile_pattern

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
SYSTEM = {
    "title": Field("prose"),
    "tags": Field("texts"),
    "created": Field("time", is_required=True),
    "metadata": Field("document"),
}
VIEW: View = [
    *entries(title="Qubit Straße 1", created=datetime(2026, 11, 20, 12, 0, 0, 1, tzinfo=UTC)),
    *texts("tags", ["t1", "cold*"]),
    *view_of_metadata(
        {
            "i": 12,
            "d": 12.5,
            "big": 2**53 + 1,
            "huge": 10**30,
            "inf": float("inf"),
            "nan": float("nan"),
            "s": "run 7\n",
            "empty": "",
            "yes": True,
            "null": None,
            "t": datetime(2026, 11, 1, tzinfo=UTC),
            "bytes": b"run",
            "long": "x" * 1025,
            "list": [1, "two", None, {"k": 3, "deep": {"x": "y"}}, [4, "five"]],
            "nothing": [],
            "object": {"k": 1, "a.b": 2, "": 3},
            "mixed": [1, "1"],
        }
    ),
]


def found(text: str, view: View = VIEW) -> bool:
    where = parse_filter(text, system=SYSTEM, now=NOW, compile_pattern=compile_pattern)
    assert where is not None
    return holds(where, view, compile_pattern=compile_pattern)


@pytest.mark.parametrize(
    "text",
    [
        *["i = 12", "i = 12.0", "i = 1.2e1", "i < 12.5", "i <= 12", "i > 11.9", "i >= 12", "i != 13"],
        *["big = 9007199254740993", "big > 9007199254740992.0", "big != 9007199254740992.0"],
        *["huge = 1000000000000000000000000000000", "huge > 1e29", "inf = 1e999", "inf > 1e308", "-inf < 1e308"],
        *["s = 'run 7\\n'", "s > run", "s < rv", "s = 'run*'", "s = '*7*'", "s = '*'", "empty = ''", "empty = '*'"],
        *["s =~ '7'", "s =~ '^RUN|^run'", "s =~ '(?i)RUN'", "s !~ '7$'", "s !~ '8'"],
        *["yes = true", "yes != false", "null = null", "i != null", "null:*", "nan:*", "bytes:*", "long:*", "object:*"],
        *["t = timestamp('2026-11-01')", "t < timestamp('2026-11-01T00:00:00.000001Z')", "t > ago('3w')"],
        *["list = 1", "list = two", "list = null", "list.k = 3", "list.deep.x = y", "list:two", "list:k", "list:*"],
        *["list.deep:*", "list != 2", "nothing:*", "mixed = 1", "mixed = '1'", "list > 0"],
        *["object:k", "object:'a.b'", "object:''", "object.'a.b' = 2", "object.'' = 3", "object.k:1"],
        *["title:straSSE", "title:QUBIT", "title:''", "title = 'Qubit*'", "NOT title = qubit"],
        *["tags:t1", "tags = 'cold\\*'", "tags = 'c*'", "tags:(t1 AND 'cold*')", "tags = (t2 OR t1)"],
        *["created > ago('1d')", "created > '2026-11-20'", "created < '2026-11-21'"],
        *["missing = 1 OR NOT missing = 1", "NOT missing != 1", "NOT missing:*", "NOT missing !~ 'x'"],
        *["metadata:i", "metadata:*", "NOT metadata.title:*"],
    ],
)
def test_it_holds(text: str) -> None:
    assert found(text)


@pytest.mark.parametrize(
    "text",
    [
        *[
            "i = '12'",
            "i = true",
            "yes = 1",
            "yes = 'true'",
            "null = 0",
            "null = ''",
            "s = 7",
            "t > 0",
            "t = '2026-11-01'",
        ],
        *["i > '1'", "s > 1", "created > 0", "i < timestamp('2026-11-01')"],
        *["nan = 0", "nan < 0", "nan > 0", "nan != 1 AND nan = 1", "NOT nan:*", "bytes = run", "bytes =~ 'run'"],
        *["long = 'x*'", "long =~ 'x'", "long:x", "list = 4", "list = five", "list:five", "list:4", "list.0 = 1"],
        *["list != 1", "yes != true", "null != null", "missing != 1", "missing !~ 'x'", "missing:*", "NOT i = 12"],
        *["object = null", "object:1", "object.k.x:*", "list.k = 1", "nothing = null", "object:'a'", "i:'k'"],
        *["s = 'run'", "s = '*r'", "s = 'run'", "s =~ '8'", "s =~ 'run.7..'", "empty:*  AND empty != ''"],
        *["title:qubits", "title = 'qubit*'", "tags:T1", "tags:'cold'", "tags != t1", "created < ago('1d')"],
    ],
)
def test_it_does_not_hold(text: str) -> None:
    assert not found(text)


def test_the_empty_and_holds_and_the_empty_or_does_not() -> None:
    assert holds(And(()), VIEW, compile_pattern=compile_pattern)
    assert not holds(Or(()), VIEW, compile_pattern=compile_pattern)


@pytest.mark.parametrize(
    ("parts", "text", "matched"),
    [
        (("a",), "a", True),
        (("a",), "ab", False),
        (("", ""), "", True),
        (("ab", "ba"), "aba", False),
        (("ab", "ba"), "abba", True),
        (("a", "b", "c"), "abc", True),
        (("a", "b", "c"), "acb", False),
        (("", "b", ""), "abc", True),
        (("", "b", "b"), "ab", False),
        (("a", "", "", "b"), "ab", True),
        (("", "\n", ""), "a\nb", True),
    ],
)
def test_a_glob_matches_the_whole_string(parts: tuple[str, ...], text: str, matched: bool) -> None:
    assert glob_matches(parts, text) is matched


@given(st.lists(st.text("ab", max_size=2), min_size=1, max_size=5), st.text("ab", max_size=8))
def test_a_glob_is_the_expression_with_anything_between_its_parts(parts: list[str], text: str) -> None:
    expression = compile_pattern("^" + ".*".join(parts) + "$")
    assert glob_matches(parts, text) == expression(text)


def test_a_hostile_glob_or_expression_takes_no_time() -> None:
    start = time.process_time()
    text = "a" * 1000 + "b"
    assert not glob_matches(["", *["a"] * 900, "c"], text)
    assert not glob_matches(["", *["ab"] * 3000, ""], text)
    assert not compile_pattern("(a+a+)+c")(text)
    assert time.process_time() - start < 60.0


@given(st.data())
def test_logic_is_two_valued(data: st.DataObject) -> None:
    view = data.draw(views())
    one: Filter = data.draw(filters(view))
    two: Filter = data.draw(filters(view))

    def told(where: Filter) -> bool:
        return holds(where, view, compile_pattern=compile_pattern)

    assert told(Not(one)) is not told(one)
    assert told(And((one, two))) is (told(one) and told(two))
    assert told(Or((one, two))) is (told(one) or told(two))
