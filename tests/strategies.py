"""What the tests draw: metadata as awkward as the contract allows, filters over it, orders.

Keys and values come from small pools beside the wild ones, so that filters meet documents.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.ports import Order
from measurand.core.searchable import entries, texts, view_of_metadata
from measurand.core.view import Entry, Scalar, View, join

__all__ = ["filters", "keys", "metadata", "orders", "scalars", "views"]

INTEGERS = (0, 1, -1, 2, 10, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 10**30, -(10**400))
FLOATS = (0.0, -0.0, 0.02, 1.0, 1.5, 2.0**53, 2.0**63, 1e22, 5e-324, 1.7e308, float("inf"), float("-inf"), float("nan"))
STRINGS = (
    "", "a", "A", "run", "Run 12", "run*", "run?", "[run]", "r%n_", "ru\\n", "run\n", "run\nrun",
    "ß", "SS", "İ", "\u0131", "é",
    "e\u0301", "été", "\uffff", "\U00010000", "\U0001f600", "null", "1", "true", "\x00", "run\x00x", "'; --", '"', "{}",
    "$a", "@t", "x" * 1024, "x" * 1025, "é" * 512, "é" * 513,
)  # fmt: skip
KEYS = (
    "a",
    "b",
    "c",
    "",
    "a.b",
    "%",
    "%2E",
    "$a",
    "@t",
    "0",
    "1",
    "gain (dB)",
    "é",
    "A",
    "NOT",
    "metadata",
    "run",
    "b ",
    '"',
    "\\",
)
TIMES = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 11, 21, 10, 25, 32, 123456, tzinfo=UTC),
    datetime(2026, 11, 21, 12, 25, 32, 123456, tzinfo=timezone(timedelta(hours=2))),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)
PATTERNS = ("run", "^run$", "(?i)RUN", "n$", r"\d+", "^", "[^a-z]", "a|é", r"\x00", r"(?s)run.run", r"^\z", ".{3,}")

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_strings = st.sampled_from(STRINGS) | _text
_numbers = st.sampled_from(INTEGERS + FLOATS) | st.integers() | st.floats()


def keys() -> st.SearchStrategy[str]:
    """Keys of objects: anything without NUL or lone surrogates."""
    wild = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
    return st.sampled_from(KEYS[:3]) | st.sampled_from(KEYS) | wild


def metadata() -> st.SearchStrategy[dict[str, object]]:
    """Decoded metadata documents."""
    leaves = (
        st.none()
        | st.booleans()
        | _numbers
        | _strings
        | st.sampled_from(TIMES)
        | st.sampled_from([b"", b"a", 1j, complex("nan+1j")])
    )
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys(), inner, max_size=4),
        max_leaves=8,
    )
    return st.dictionaries(keys(), values, max_size=5)


@st.composite
def views(draw: st.DrawFn) -> View:
    """Whole views: metadata and some system fields."""
    title = draw(_strings)
    view: list[Entry] = entries(
        title=title or None,
        kind=draw(st.sampled_from(["run", "scan"])),
        revision=draw(st.integers(1, 3)),
        created=draw(st.sampled_from(TIMES)),
    )
    view += texts("tags", sorted(draw(st.sets(st.sampled_from(["t1", "t2", "T1", "é", "t 3"]), max_size=3))))
    return view + view_of_metadata(draw(metadata()))


def scalars() -> st.SearchStrategy[Scalar]:
    """Operands: what a filter may compare with."""
    return st.one_of(
        st.sampled_from([*INTEGERS[:-3], *FLOATS[:-1]]).map(lambda value: Scalar("n", value)),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: Scalar("n", value)),
        st.floats(allow_nan=False).map(lambda value: Scalar("n", value)),
        _strings.map(lambda value: Scalar("s", value)),
        st.booleans().map(lambda value: Scalar("b", value)),
        st.sampled_from(TIMES).map(lambda value: Scalar("t", (value - TIMES[0]) // timedelta(microseconds=1))),
        st.integers(-(10**17), 10**17).map(lambda value: Scalar("t", value)),
        st.just(Scalar("z", None)),
    )


def paths() -> st.SearchStrategy[str]:
    """Paths of views, of things that are likely there, or not there."""
    below = st.lists(keys(), max_size=3).map(lambda segments: join("metadata", *segments))
    return st.sampled_from(["title", "kind", "tags", "revision", "created", "metadata", "unknown"]) | below | below


@st.composite
def _restrictions(draw: st.DrawFn, view: View) -> Filter:
    """One restriction; as often as not about something that is at hand in a view, so that it may hold."""
    path, scalar = draw(paths()), draw(scalars())
    if draw(st.booleans()) and view:
        entry = draw(st.sampled_from(view))
        path = entry.path
        scalar = entry.scalar if entry.scalar is not None and draw(st.booleans()) else scalar
    string = scalar.value if isinstance(scalar.value, str) else draw(_strings)
    start = draw(st.integers(0, len(string)))
    end = draw(st.integers(start, len(string)))
    cut = string[start:end]
    rest = draw(
        st.sampled_from([(string[:start], string[end:]), (string[:start], ""), ("", cut, ""), ("", ""), (cut, "")])
    )
    ordered = st.sampled_from([Compare(path, op, scalar) for op in ("=", "<", "<=", ">", ">=")])
    choices: list[st.SearchStrategy[Filter]] = [
        ordered if scalar.kind in "nst" else st.just(Compare(path, "=", scalar)),
        st.just(Exists(path)),
        st.just(Has(path, scalar)) | st.builds(Has, st.just(path), keys().map(lambda key: Scalar("s", key))),
        st.just(Contains(path, draw(st.sampled_from([cut, cut.upper(), cut.lower(), cut.casefold()])))),
        st.just(Glob(path, rest)),
        st.builds(Regex, st.just(path), st.sampled_from(PATTERNS)),
    ]
    return draw(st.one_of(choices))


def filters(view: View = ()) -> st.SearchStrategy[Filter]:
    """Trees of filters, over paths and values of `view` more often than not."""
    return st.recursive(
        _restrictions(view),
        lambda inner: (
            inner.map(Not)
            | st.lists(inner, max_size=3).map(lambda items: And(tuple(items)))
            | st.lists(inner, max_size=3).map(lambda items: Or(tuple(items)))
        ),
        max_leaves=6,
    )


def orders() -> st.SearchStrategy[tuple[Order, ...]]:
    """Orders over paths of views."""
    path = st.sampled_from(["metadata.a", "metadata.b", "created", "title", "tags", "metadata.a.b"])
    return st.lists(st.builds(Order, path, st.booleans()), max_size=3, unique_by=lambda order: order.path).map(tuple)
