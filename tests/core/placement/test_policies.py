"""Policies: how users write them, how documents keep them, what is refused."""

from __future__ import annotations

import json
import random

import pytest
from tests.core.placement.sites import random_policy

from measurand.core.placement.policies import ADAPTIVE, Policy, format_policy, parse_policy
from measurand.wire.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("single", Policy(replicas=1)),
        ("replicate:3", Policy(replicas=3)),
        ("erasure:4+2", Policy(data_parts=4, parity_parts=2)),
        ("erasure:32+16", Policy(data_parts=32, parity_parts=16)),
        ("losses:2", Policy(losses=2)),
        *[(name, Policy(placement=name)) for name in sorted(ADAPTIVE)],
    ],
)
def test_what_is_written_is_read_and_written_again(text: str, policy: Policy) -> None:
    assert parse_policy(text) == policy
    assert format_policy(policy) == text


def test_one_copy_is_single_however_it_was_written() -> None:
    assert format_policy(parse_policy("replicate:1")) == "single"
    assert format_policy(Policy()) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("", "double", "balanced", "single ", "replicate", "replicate:0", "replicate:17", "replicate:-1"),
        *("replicate:99999", "erasure:4", "erasure:4+0", "erasure:0+2", "erasure:33+1", "erasure:4+17"),
        *("losses:0", "losses:17"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_policy(text)
    assert caught.value.details["field"].startswith("storage")


def test_documents_give_back_what_they_were_given() -> None:
    chance = random.Random(5)
    for _ in range(300):
        policy = random_policy(chance, [f"n{at}" for at in range(8)])
        assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy
    assert Policy().to_json() == {}


def test_a_document_of_a_newer_release_is_read_as_far_as_it_is_known() -> None:
    assert Policy.from_json({"replicas": 2, "colour": "blue"}) == Policy(replicas=2)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"replicas": 17}, "replicas"),
        ({"replicas": -1}, "replicas"),
        ({"data_parts": 33, "parity_parts": 1}, "erasure_code.data_parts"),
        ({"data_parts": 4}, "erasure_code.parity_parts"),
        ({"parity_parts": 2}, "erasure_code.data_parts"),
        ({"losses": 17}, "losses"),
        ({"replicas": 2, "losses": 1}, "redundancy"),
        ({"placement": "nearest"}, "placement"),
        ({"placement": "saturation", "replicas": 2}, "placement"),
        ({"replicas": 2, "target_reliability": 0.9}, "target_reliability"),
        ({"placement": "saturation", "target_reliability": 1.0}, "target_reliability"),
        ({"retention_days": -1.0}, "retention"),
        ({"acknowledge": "some"}, "acknowledge"),
        ({"container_labels": (("Disk!", "ssd"),)}, "container_labels"),
        ({"containers": ("a", "b", "a")}, "containers"),
        ({"exclude": ("",)}, "exclude"),
        ({"containers": ("a", "b"), "exclude": ("b",)}, "exclude"),
        ({"containers": ("a", "b"), "replicas": 3}, "containers"),
        ({"containers": ("a", "b"), "losses": 2}, "containers"),
        ({"containers": ("a", "b")}, "containers"),
        ({"containers": tuple(map(str, range(40))), "losses": 2}, "containers"),
        ({"replicas": 2, "min_zones": 3}, "min_zones"),
        ({"zones": ("a", "b"), "min_zones": 3}, "min_zones"),
        ({"min_zones": -1}, "min_zones"),
    ],
)
def test_what_cannot_be_is_refused_by_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Policy(**values)  # type: ignore[arg-type]
    assert caught.value.details["field"] == f"storage.{field}"


def test_labels_are_kept_by_key() -> None:
    policy = Policy(container_labels=(("site", "north"), ("disk", "ssd")))
    assert policy == Policy(container_labels=(("disk", "ssd"), ("site", "north")))
    assert policy.container_labels[0] == ("disk", "ssd")
