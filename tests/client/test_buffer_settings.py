"""Policies of buffers as users type them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from measurand.client.buffer_settings import policy_of, size_of, span_of
from measurand.client.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (2000, 2000),
        ("2000", 2000),
        ("2 GiB", 2 << 30),
        ("1.5kB", 1500),
        ("64 MiB", 64 << 20),
        ("1TB", 10**12),
        ("0", 0),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    assert size_of(text, "bytes") == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (3, 3.0),
        (0.5, 0.5),
        ("8s", 8.0),
        ("15 min", 900.0),
        ("30d", 2592000.0),
        (timedelta(hours=1), 3600.0),
        ("100ms", 0.1),
    ],
)
def test_spans(text: Any, seconds: float) -> None:
    assert span_of(text, "seconds") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "GiB", "2 parsec", "-1", "1e3", None, True, -5, float("nan"), 1.5])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(InvalidArgument, match="bytes"):
        size_of(text, "bytes")


@pytest.mark.parametrize("text", ["", "s", "3 GiB", None, True, -5, float("inf")])
def test_what_is_no_span_is_refused(text: Any) -> None:
    with pytest.raises(InvalidArgument, match="age"):
        span_of(text, "age")


def test_a_policy_holds_what_was_said() -> None:
    policy = policy_of(
        {"bytes": "2 KiB", "records": 7, "seconds": "1 min"},
        rotate=True,
        retention={"age": "30d", "bytes": "1 GiB", "batches": 3},
        keep_sealed="2h",
        batch_title="{buffer} {window}",
    )
    assert (policy.freeze_after_bytes, policy.freeze_after_records, policy.freeze_after_age.seconds) == (2048, 7, 60)
    assert (policy.keep_batches_for.seconds, policy.keep_batches_bytes, policy.keep_batches) == (2592000, 1 << 30, 3)
    assert (policy.rotate, policy.keep_sealed.seconds, policy.batch_title) == (True, 7200, "{buffer} {window}")


@pytest.mark.parametrize("given", [{"byte": 1}, {"bytes": -1}, {"records": 1.5}, {"seconds": "long"}, 2000, "2 GiB"])
def test_what_a_policy_has_not_is_refused_by_name(given: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        policy_of(given, rotate=False, retention=None, keep_sealed=None, batch_title="")
    assert refused.value.details["field"].startswith("freeze_after")
