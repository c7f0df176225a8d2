"""What a caller asks of the places where bytes are kept: how often, where, and chosen how.

A policy is a value that is checked when it is made, so whoever holds one need not check it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from measurand.core.fields import check_labels
from measurand.wire.errors import InvalidArgument
from measurand.wire.redundancy import Redundancy, format_redundancy, parse_redundancy

__all__ = ["ADAPTIVE", "PLACEMENTS", "Acknowledge", "Policy", "format_policy", "parse_policy"]

Acknowledge = Literal["all", "quorum"]
"""When a put is acknowledged: when all parts are durable, or when the data parts and half of the parity parts are."""

MOST_REPLICAS = 16
MOST_DATA_PARTS = 32
MOST_PARITY_PARTS = 16
MOST_NAMED = 1000
USUAL_LOSSES = 2
MOST_DAYS = 36_500.0

ADAPTIVE = frozenset({"least_used", "min_storage", "balance_penalty", "saturation", "min_time", "time_space", "random"})
"""Placements that choose the numbers of data and parity parts themselves, by a target reliability."""
PLACEMENTS = ADAPTIVE | {"balanced", "utilisation", "two_choices", "popularity", "fastest"}
"""All placements by name. Empty in a policy: `balanced`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How many parts bytes are kept in, and what is asked of the containers that hold them.

    At most one of `replicas`, `data_parts` with `parity_parts`, and `losses` is given. With none, and a placement that
    does not choose for itself, two losses are survived.

    Parameters
    ----------
    replicas : int
        So many whole copies, 1 to 16.
    data_parts, parity_parts : int
        Erasure coding: any `data_parts` (1 to 32) of all parts suffice to read; 1 to 16 may be lost.
    losses : int
        So many containers may be lost, 1 to 16; the server chooses the parts by size and by how many containers are up.
    container_labels : tuple of (str, str)
        Only containers that carry all of these labels, by key.
    zones : tuple of str
        Only containers in these zones. Empty: any.
    min_zones : int
        Parts lie in at least this many zones. 0 means 1.
    containers : tuple of str
        Exactly these containers, part 0 in the first. Where there are fewer parts than names, as may be for adaptive
        placements and for small blobs under `losses`: only these. Empty: any.
    exclude : tuple of str
        Not these containers.
    placement : str
        One of `PLACEMENTS`. Empty: `balanced`.
    target_reliability : float
        Probability that the bytes survive `retention_days` without repair. 0: 0.99999 for placements that choose the
        number of parts, none for `fastest`; the others take none.
    retention_days : float
        How long the bytes are to be kept. 0: 365.
    acknowledge : "all" or "quorum"
        When a put is acknowledged.
    hot_copies : bool
        What is read most may get whole copies beyond the policy, for a while.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: naming the field, as `storage.min_zones`.
    """

    replicas: int = 0
    data_parts: int = 0
    parity_parts: int = 0
    losses: int = 0
    container_labels: tuple[tuple[str, str], ...] = ()
    zones: tuple[str, ...] = ()
    min_zones: int = 0
    containers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    placement: str = ""
    target_reliability: float = 0.0
    retention_days: float = 0.0
    acknowledge: Acknowledge = "all"
    hot_copies: bool = False

    def __post_init__(self) -> None:
        _check_redundancy(self)
        _check_placement(self)
        _check_places(self)
        object.__setattr__(self, "container_labels", tuple(sorted(self.container_labels)))

    @property
    def is_adaptive(self) -> bool:
        """Whether the placement chooses the numbers of parts."""
        return self.placement in ADAPTIVE

    @property
    def parts(self) -> int:
        """Number of parts of a blob; 0: it depends on the blob and the containers."""
        return self.replicas or self.data_parts + self.parity_parts

    def to_json(self) -> dict[str, Any]:
        """Return the policy as it stands in the body of a document: what differs from the defaults."""
        body: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                body[field.name] = list(value) if isinstance(value, tuple) else value
        if self.container_labels:
            body["container_labels"] = dict(self.container_labels)
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Policy:
        """Return the policy that stands in the body of a document; what it does not know is left out."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {}
        for key in known & body.keys():
            value = body[key]
            values[key] = tuple(value) if isinstance(value, list | tuple) else value
        values["container_labels"] = tuple(sorted(body.get("container_labels", {}).items()))
        return cls(**values)


def parse_policy(text: str, *, field: str = "storage") -> Policy:
    """Return the policy that a user typed: `single`, `replicate:3`, `erasure:4+2`, `losses:2`, or such as `saturation`.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is none of these, or a number is out of bounds.
    """
    if text in ADAPTIVE:
        return Policy(placement=text)
    asked = parse_redundancy(text, field=field)
    return Policy(asked.replicas, asked.data_parts, asked.parity_parts, asked.losses)


def format_policy(policy: Policy) -> str:
    """Return how many parts a policy asks for as users type it; empty when it leaves that to the server."""
    if policy.is_adaptive:
        return policy.placement
    return format_redundancy(Redundancy(policy.replicas, policy.data_parts, policy.parity_parts, policy.losses))


def _refuse(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"storage.{field}: {why}", field=f"storage.{field}")


def _check_range(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise _refuse(name, f"{value} is not within 1 and {most}")


def _check_redundancy(policy: Policy) -> None:
    _check_range("replicas", policy.replicas, MOST_REPLICAS)
    _check_range("erasure_code.data_parts", policy.data_parts, MOST_DATA_PARTS)
    _check_range("erasure_code.parity_parts", policy.parity_parts, MOST_PARITY_PARTS)
    _check_range("losses", policy.losses, MOST_PARITY_PARTS)
    if bool(policy.data_parts) != bool(policy.parity_parts):
        missing = "parity_parts" if policy.data_parts else "data_parts"
        raise _refuse(f"erasure_code.{missing}", "erasure coding needs both numbers; give at least 1")
    given = [bool(policy.replicas), bool(policy.data_parts), bool(policy.losses)]
    if sum(given) > 1:
        raise _refuse("redundancy", "replicas, erasure_code and losses exclude one another; give one")


def _check_placement(policy: Policy) -> None:
    if policy.placement and policy.placement not in PLACEMENTS:
        known = ", ".join(sorted(PLACEMENTS))
        raise _refuse("placement", f"there is no {policy.placement[:80]!r}; there are {known}")
    if policy.is_adaptive and (policy.parts or policy.losses):
        raise _refuse(
            "placement", f"{policy.placement} chooses the number of parts itself; leave out replicas, erasure or losses"
        )
    if not 0 <= policy.target_reliability < 1:
        raise _refuse("target_reliability", f"{policy.target_reliability} is not a probability below 1")
    if policy.target_reliability and not (policy.is_adaptive or policy.placement == "fastest"):
        raise _refuse("target_reliability", f"{policy.placement or 'balanced'} takes none; name an adaptive placement")
    if not 0 <= policy.retention_days <= MOST_DAYS:
        raise _refuse("retention", f"{policy.retention_days} days are not within 0 and {MOST_DAYS:.0f}")
    if policy.acknowledge not in get_args(Acknowledge):
        raise _refuse("acknowledge", f"{policy.acknowledge!r} is neither all nor quorum")


def _check_places(policy: Policy) -> None:
    check_labels(dict(policy.container_labels), field="storage.container_labels")
    for name in ("zones", "containers", "exclude"):
        _check_names(name, getattr(policy, name))
    if both := sorted(set(policy.containers) & set(policy.exclude)):
        raise _refuse("exclude", f"{both[0]} is among the containers too; leave it out of one of them")
    named = len(policy.containers)
    if named and policy.parts and named != policy.parts:
        raise _refuse("containers", f"{named} containers for {policy.parts} parts; name as many as there are parts")
    losses = policy.losses or USUAL_LOSSES
    if named and not (policy.parts or policy.is_adaptive) and not losses < named <= losses + MOST_DATA_PARTS:
        raise _refuse(
            "containers", f"{named} containers for {losses} losses; name 1 to {MOST_DATA_PARTS} more than those"
        )
    _check_range("min_zones", policy.min_zones, MOST_NAMED)
    if policy.parts and policy.min_zones > policy.parts:
        raise _refuse("min_zones", f"{policy.parts} parts cannot lie in {policy.min_zones} zones")
    if policy.zones and policy.min_zones > len(policy.zones):
        raise _refuse("min_zones", f"{policy.min_zones} is more than the zones that are named: {len(policy.zones)}")


def _check_names(field: str, names: Sequence[str]) -> None:
    if len(names) > MOST_NAMED:
        raise _refuse(field, f"{len(names)} names; the most is {MOST_NAMED}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _refuse(field, f"{twice!r} is named twice")
    if not all(names):
        raise _refuse(field, "an empty name; leave it out")
