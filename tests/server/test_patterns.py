from __future__ import annotations

import time

import pytest

from measurand.server.patterns import compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("run", "a run", True),
        ("^run", "a run", False),
        ("(?i)ÉTÉ", "un été", True),
        ("^.$", "\U0001f600", True),
        ("a$", "a\n", False),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        (r"\x00b$", "a\x00b", True),
        ("", "", True),
    ],
)
def test_an_expression_is_looked_for_anywhere_in_the_characters(pattern: str, text: str, found: bool) -> None:
    assert compile_pattern(pattern)(text) is found


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "x*+", r"\Z", "(a{1000}){1000}", r"\pL{1000}"])
def test_what_re2_does_not_take_is_a_value_error_that_says_why(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        compile_pattern(pattern)
    assert capfd.readouterr().err == ""


def test_no_expression_of_a_filters_length_holds_up_the_server() -> None:
    text = "é" * 512
    start = time.process_time()
    for pattern in ["(x+x+)+y", "((.{10}){10}){9}", r"(?:\w\W){300}" * 10, "(.*)(.*)(.*)(.*)(.*)[^é]$", r"\pL{50}"]:
        compile_pattern(pattern)(text)
    assert time.process_time() - start < 60.0
