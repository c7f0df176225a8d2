from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.core.filters.fields import Field, parse_path
from measurand.core.filters.parser import parse_filter
from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.view import Scalar, join
from measurand.server.patterns import compile_pattern
from measurand.wire.errors import FilterInvalid

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
DAY = 86_400 * 1_000_000

DATASETS = {
    "id": Field("text", is_required=True),
    "title": Field("prose"),
    "kind": Field("text"),
    "tags": Field("texts"),
    "state": Field("word", words=("OPEN", "DELETED")),
    "revision": Field("number"),
    "created": Field("time", is_required=True),
    "metadata": Field("document"),
}
CATALOGS = {"id": Field("text"), "labels": Field("map")}


def parsed(text: str, system: dict[str, Field] = DATASETS) -> Filter | None:
    return parse_filter(text, system=system, now=NOW, compile_pattern=compile_pattern)


def refused(text: str, system: dict[str, Field] = DATASETS) -> tuple[int, str]:
    with pytest.raises(FilterInvalid) as caught:
        parsed(text, system)
    return int(caught.value.details["position"]), caught.value.details["expected"]


def s(value: str) -> Scalar:
    return Scalar("s", value)


def n(value: float) -> Scalar:
    return Scalar("n", value)


def equal(path: str, value: float | str) -> Compare:
    return Compare(path, "=", s(value) if isinstance(value, str) else n(value))


A, B, C = (Exists(f"metadata.{key}") for key in "abc")


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_an_empty_filter_is_none_and_holds_for_everything(text: str) -> None:
    assert parsed(text) is None


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a:*", A),
        ("a:* AND b:* AND c:*", And((A, B, C))),
        ("a:* OR b:* OR c:*", Or((A, B, C))),
        ("a:* AND (b:* OR c:*)", And((A, Or((B, C))))),
        ("((a:*))", A),
        ("NOT a:*", Not(A)),
        ("-a:*", Not(A)),
        ("NOT(a:* OR b:*)", Not(Or((A, B)))),
        ("-(a:*)AND-b:*", And((Not(A), Not(B)))),
        ("NOT a:* OR b:*", Or((Not(A), B))),
        ("\na:*\tAND\r\n( b:* )\n", And((A, B))),
    ],
)
def test_clauses_are_joined_as_they_are_written(text: str, tree: Filter) -> None:
    assert parsed(text) == tree


@pytest.mark.parametrize(
    ("text", "position"), [("a:* AND b:* OR c:*", 12), ("a:* OR b:* AND c:*", 11), ('kind = ("a" OR "b" AND "c")', 19)]
)
def test_and_and_or_mix_only_with_parentheses(text: str, position: int) -> None:
    at, expected = refused(text)
    assert at == position
    assert "parentheses" in expected


@pytest.mark.parametrize(
    ("text", "position", "word"),
    [
        ("a:* and b:*", 4, "AND"),
        ("a:* or b:*", 4, "OR"),
        ("a:* Or b:*", 4, "OR"),
        ("not a:*", 0, "NOT"),
        ("Not (a:*)", 0, "NOT"),
        ("a:* AND not b:*", 8, "NOT"),
        ("tags:(t1 and t2)", 9, "AND"),
    ],
)
def test_a_lower_case_word_is_an_error_that_says_so(text: str, position: int, word: str) -> None:
    assert refused(text) == (position, f"{word} in upper case")


def test_a_key_may_be_called_as_a_lower_case_word() -> None:
    assert parsed("not = 1 AND metadata.AND = 2") == And((equal("metadata.not", 1), equal("metadata.AND", 2)))
    assert parsed('"NOT":*') == Exists("metadata.NOT")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("temperature:*", "metadata.temperature"),
        ("metadata.title:*", "metadata.title"),
        ("metadata.metadata:*", "metadata.metadata"),
        ("metadata:*", "metadata"),
        ("title:*", "title"),
        ('"title":*', "title"),
        ('"gain (dB)".mean:*', join("metadata", "gain (dB)", "mean")),
        ("a.0.1:*", "metadata.a.0.1"),
        ("5:*", "metadata.5"),
        ("'a.b'.\"%\".'':*", "metadata.a%2Eb.%25.%"),
        ("größe.µ_1:*", "metadata.größe.µ_1"),
        (r'"\u0041\u00e9\ud83d\ude00\n\t\\\"\'\*":*', "metadata.Aé\U0001f600\n\t\\\"'*"),
    ],
)
def test_a_path_is_a_system_field_or_else_a_key_of_the_metadata(text: str, path: str) -> None:
    assert parsed(text) == Exists(path)


def test_a_resource_without_metadata_refuses_unknown_fields_and_has_maps() -> None:
    assert parsed("labels.team = 'x'", CATALOGS) == equal("labels.team", "x")
    assert refused("id = 'x' AND team = 'x'", CATALOGS) == (13, "one of id labels")


def test_a_system_field_has_no_parts() -> None:
    position, expected = refused("a:* OR title.length = 3")
    assert position == 7
    assert "metadata.title" in expected


@pytest.mark.parametrize("op", ["=", "<", "<=", ">", ">="])
def test_comparisons_keep_their_operator(op: str) -> None:
    compare = parsed(f"a{op}1")
    assert isinstance(compare, Compare)
    assert compare == Compare("metadata.a", compare.op, n(1))
    assert compare.op == op


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", 2.0**63),
        ("-9223372036854775809", -(2.0**63)),
        ("0000000000000009007199254740993", 2**53 + 1),
        ("9007199254740993.0", 2.0**53),
        ("1.50", 1.5),
        ("-2e-3", -0.002),
        ("1E+2", 100.0),
        ("1e999", float("inf")),
        ("-1e999", float("-inf")),
        ("9" * 5000, float("inf")),
    ],
)
def test_numbers_are_integers_within_64_bits_and_doubles_beyond(literal: str, value: float) -> None:
    compare = parsed(f"a = {literal}")
    assert compare == equal("metadata.a", value)
    assert isinstance(compare, Compare)
    assert type(compare.value.value) is type(value)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "nan"])
def test_there_is_no_literal_for_nan_or_infinity_only_words(literal: str) -> None:
    assert parsed(f"a = {literal}") == equal("metadata.a", literal)


@pytest.mark.parametrize(
    ("literal", "scalar"),
    [
        ("true", Scalar("b", True)),
        ("false", Scalar("b", False)),
        ("null", Scalar("z", None)),
        ('"true"', s("true")),
        ("True", s("True")),
        ("run", s("run")),
        ("timestamp", s("timestamp")),
        ("'it\\'s'", s("it's")),
        (r'"\\d\*"', s(r"\d*")),
        ('timestamp("1970-01-02")', Scalar("t", DAY)),
        ("timestamp ( '1970-01-01T00:00:00.0000019Z' )", Scalar("t", 1)),
        ('timestamp("1970-01-01T02:00:00+02:00")', Scalar("t", 0)),
        ('timestamp("1969-12-31t23:59:59.9z")', Scalar("t", -100_000)),
        ('timestamp("1969-12-31T22:30:00-01:30")', Scalar("t", 0)),
        ('timestamp("0001-01-01T00:00:00+23:59")', Scalar("t", -62135683140000000)),
        ('ago("7d")', Scalar("t", 1795262400000000 - 7 * DAY)),
        ('ago("90s")', Scalar("t", 1795262400000000 - 90_000_000)),
        ('ago("2w")', Scalar("t", 1795262400000000 - 14 * DAY)),
    ],
)
def test_values_have_the_kind_that_they_are_written_as(literal: str, scalar: Scalar) -> None:
    assert parsed(f"a = {literal}") == Compare("metadata.a", "=", scalar)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ('a = timestamp("2026-13-01")', 14),
        ('a = timestamp("2026-11-21T10:25:32")', 14),
        ('a = timestamp("2026-11-21T24:00:00Z")', 14),
        ('a = timestamp("0000-01-01")', 14),
        ('a = timestamp("٢٠٢٦-11-21")', 14),
        ("a = timestamp(2026)", 14),
        ('a = timestamp("2026-11-21"', 26),
        ('a = ago("7")', 8),
        ('a = ago("7y")', 8),
        ('a = ago("-7d")', 8),
        ('a = ago("999999999w")', 8),
        ('a = now("7d")', 4),
        ("created > yesterday", 10),
        ('created = "2026-*"', 10),
        ("created > 2026-11-01", 14),
    ],
)
def test_malformed_times_are_refused_where_they_stand(text: str, position: int) -> None:
    assert refused(text)[0] == position


def test_a_string_is_a_time_on_a_system_time_and_a_string_on_metadata() -> None:
    assert parsed('created > "1970-01-02"') == Compare("created", ">", Scalar("t", DAY))
    assert parsed('created:"1970-01-02T00:00:00Z"') == Has("created", Scalar("t", DAY))
    assert parsed('metadata.created > "1970-01-02"') == Compare("metadata.created", ">", s("1970-01-02"))


def test_unequal_means_that_the_path_is_there_and_not_equal() -> None:
    path = "metadata.a"
    assert parsed("a != 1") == And((Exists(path), Not(equal(path, 1))))
    assert parsed("a != null") == And((Exists(path), Not(Compare(path, "=", Scalar("z", None)))))
    assert parsed("a != 'r*'") == And((Exists(path), Not(Glob(path, ("r", "")))))
    assert parsed("a !~ 'r'") == And((Exists(path), Not(Regex(path, "r"))))
    assert parsed("a != (1 OR 2)") == And((Exists(path), Not(Or((equal(path, 1), equal(path, 2))))))


def test_an_operand_in_parentheses_is_asked_for_each_value() -> None:
    assert parsed('kind = ("run" OR scan)') == Or((equal("kind", "run"), equal("kind", "scan")))
    assert parsed('tags:("t1" AND "t2")') == And((Has("tags", s("t1")), Has("tags", s("t2"))))
    assert parsed("kind = (run)") == equal("kind", "run")


@pytest.mark.parametrize("literal", ["true", "null"])
@pytest.mark.parametrize("op", ["<", "<=", ">", ">="])
def test_booleans_and_null_have_no_order(op: str, literal: str) -> None:
    assert refused(f"a {op} {literal}")[0] == 3 + len(op)


def test_a_colon_asks_for_an_element_or_key_and_on_prose_for_a_part() -> None:
    assert parsed("a:k") == Has("metadata.a", s("k"))
    assert parsed("a:1.5") == Has("metadata.a", n(1.5))
    assert parsed("a:'x*'") == Has("metadata.a", s("x*"))
    assert parsed("kind:run") == Has("kind", s("run"))
    assert parsed("title:'T1 *'") == Contains("title", "T1 *")
    assert parsed("title = 'T1'") == equal("title", "T1")
    assert refused("title:5") == (6, "a string, of which a part is looked for")


@pytest.mark.parametrize(
    ("literal", "parts"),
    [
        ('"run*"', ("run", "")),
        ('"*"', ("", "")),
        ('"a**b"', ("a", "", "b")),
        (r'"a\**"', ("a*", "")),
        (r'"\\*"', ("\\", "")),
    ],
)
def test_an_unescaped_star_makes_a_glob_of_equals(literal: str, parts: tuple[str, ...]) -> None:
    assert parsed(f"a = {literal}") == Glob("metadata.a", parts)


def test_elsewhere_a_star_is_a_star() -> None:
    assert parsed(r'a = "x\*"') == equal("metadata.a", "x*")
    assert parsed('a < "x*"') == Compare("metadata.a", "<", s("x*"))


@pytest.mark.parametrize("word", ["OPEN", "open", '"Open"'])
def test_a_state_may_be_written_in_either_case(word: str) -> None:
    assert parsed(f"state = {word}") == equal("state", "OPEN")


@pytest.mark.parametrize("word", ["SEALED", '"O*"', '""'])
def test_an_unknown_state_is_refused_with_those_there_are(word: str) -> None:
    assert refused(f"state = {word}") == (8, "one of OPEN DELETED")


def test_a_regular_expression_is_kept_as_written() -> None:
    assert parsed(r'a =~ "^x\\d\\*(?i)é"') == Regex("metadata.a", r"^x\d\*(?i)é")
    assert parsed(f"a =~ '{'x' * 200}'") == Regex("metadata.a", "x" * 200)
    for pattern in [r"[(?=]", r"\\\\1", r"\\Q(?=\\1\\E", r"[[:alpha:](?!)]"]:
        assert isinstance(parsed(f"a =~ '{pattern}'"), Regex)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("x" * 201, "200 characters"),
        ("(?=a)", "look-around"),
        ("a(?<!b)", "look-around"),
        (r"(a)\\1", "back-reference"),
        (r"(?P<n>a)(?P=n)", "back-reference"),
        (r"\\C", r"\C"),
        ("a(", "missing )"),
        ("((a{1000}){1000})", "RE2"),
        ("x*+", "RE2"),
    ],
)
def test_an_expression_outside_the_shared_subset_is_refused(pattern: str, said: str) -> None:
    position, expected = refused(f"a:* AND a =~ '{pattern}'")
    assert position == 13
    assert said in expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a", 1),
        ("a =", 3),
        ("a = ", 4),
        ("= 3", 0),
        ("a == 3", 3),
        ("a = 3 b = 4", 6),
        ("a = 3 NOT b = 4", 6),
        ("a = 3 AND", 9),
        ("AND a = 3", 0),
        ("a = AND", 4),
        ("NOT", 3),
        ("NOT NOT a = 3", 4),
        ("--a = 3", 1),
        ("(a = 3", 6),
        ("a = 3)", 5),
        ("()", 1),
        ("a = ()", 5),
        ("a = (1 2)", 7),
        ("a = (1 OR (2))", 10),
        ("a = +5", 4),
        ("a = .5", 4),
        ("a = 5.", 5),
        ("a = 5dB", 5),
        ("a = - 5", 4),
        ("a = run-1", 7),
        ("a = 01JD3", 6),
        ("gain-db = 3", 4),
        ("3dB = 3", 1),
        ("a . b = 3", 2),
        ("a. b = 3", 2),
        ("a.:*", 2),
        ("a..b:*", 2),
        ("a =~ b", 5),
        ("a =~ 5", 5),
        ("a :: b", 3),
        ("a = 'b", 6),
        ("a = 'b\"", 7),
        (r"a = 'b\d'", 6),
        (r"a = '\u12'", 5),
        (r"a = '\ud83d'", 5),
        (r"a = '\ud83dx'", 5),
        (r"a = '\ude00'", 5),
        (r"'a\u0000b' = 1", 0),
        ("a = 'é\U0001f600' AND ;", 13),
        ("a = \ud800", 4),
        ("a.b", 3),
        ("func(a)", 4),
        ("tags:t1,t2", 7),
        ("$where = 1", 0),
        ('{"$where": "1"}', 0),
    ],
)
def test_every_error_says_at_which_character(text: str, position: int) -> None:
    at, expected = refused(text)
    assert at == position
    assert expected


def test_the_message_names_the_place_and_what_was_found() -> None:
    with pytest.raises(FilterInvalid, match=r"filter: expected AND, OR or the end at position 6, found 'b = 4'"):
        parsed("a = 3 b = 4")


def test_a_filter_has_at_most_10_000_characters() -> None:
    assert parsed("a:*".ljust(10_000)) == A
    assert refused("a:*".ljust(10_001)) == (10_000, "at most 10000 characters")


@pytest.mark.parametrize(
    "many", [lambda k: " OR ".join(["a:*"] * k), lambda k: f"a = ({' OR '.join(['1'] * k)})"], ids=["clauses", "values"]
)
def test_a_filter_has_at_most_100_restrictions(many: Callable[[int], str]) -> None:
    tree = parsed(many(100))
    assert isinstance(tree, Or)
    assert len(tree.items) == 100
    assert refused(many(101))[1] == "at most 100 restrictions"


def test_a_filter_has_at_most_16_levels() -> None:
    assert parsed("(" * 16 + "a:*" + ")" * 16) == A
    assert refused("(" * 17 + "a:*" + ")" * 17) == (16, "at most 16 levels of parentheses")
    assert refused("(" * 16 + "a = (1 OR 2)" + ")" * 16) == (20, "at most 16 levels of parentheses")
    assert refused("(" * 9000)[0] == 16


def test_paths_of_metadata_can_be_taken_apart_alone() -> None:
    assert parse_path(' fridge."gain (dB)".0 ', what="metadata_paths") == ("fridge", "gain (dB)", "0")
    with pytest.raises(FilterInvalid, match=r"metadata_paths: expected .* at position 4"):
        parse_path("gain-db", what="metadata_paths")


_WORDS = "a title state OPEN tags created AND OR NOT and true null timestamp ago 1 1.5e3"
_SIGNS = """( ) . : * = != < >= =~ !~ "x*" '2026-01-01' "7d" - \\ " ' \x00"""
_PIECES = f"{_WORDS} {_SIGNS}".split()


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map(" ".join) | st.text(max_size=30))
def test_whatever_is_written_parses_or_is_refused_within_the_text(text: str) -> None:
    position = 0
    try:
        parsed(text)
    except FilterInvalid as error:
        position = int(error.details["position"])
    assert 0 <= position <= len(text)


def test_a_word_and_a_string_mean_the_same() -> None:
    assert parsed("kind = run AND tags:t1") == parsed("kind = \"run\" AND tags:'t1'")
