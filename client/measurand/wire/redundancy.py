"""How often bytes are kept, as people type it: `single`, `replicate:3`, `erasure:4+2`, `losses:2`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from measurand.wire.errors import InvalidArgument

__all__ = ["FORMS", "Redundancy", "format_redundancy", "parse_redundancy"]

FORMS = "single, replicate:3, erasure:4+2 or losses:2"
_TEXT = re.compile(r"(single)|replicate:(\d{1,4})|erasure:(\d{1,4})\+(\d{1,4})|losses:(\d{1,4})")


@dataclass(frozen=True, slots=True)
class Redundancy:
    """Exactly one way to keep bytes more than once.

    Parameters
    ----------
    replicas : int
        So many whole copies.
    data_parts, parity_parts : int
        Erasure coding: any `data_parts` of all parts suffice.
    losses : int
        So many containers may be lost; the server chooses how.
    """

    replicas: int = 0
    data_parts: int = 0
    parity_parts: int = 0
    losses: int = 0


def parse_redundancy(text: str, *, field: str = "storage") -> Redundancy:
    """Return what a text says.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is none of the forms, or a number in it is 0.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"{field}: {text[:80]!r} is no policy; write {FORMS}", field=field)
    single, *numbers = found.groups()
    if single:
        return Redundancy(replicas=1)
    replicas, data_parts, parity_parts, losses = (int(number or 0) for number in numbers)
    if not (replicas or losses or (data_parts and parity_parts)):
        raise InvalidArgument(f"{field}: {text!r} has a 0; every number must be at least 1", field=field)
    return Redundancy(replicas, data_parts, parity_parts, losses)


def format_redundancy(redundancy: Redundancy) -> str:
    """Return what people type for it; empty when nothing is said."""
    if redundancy.replicas:
        return "single" if redundancy.replicas == 1 else f"replicate:{redundancy.replicas}"
    if redundancy.data_parts:
        return f"erasure:{redundancy.data_parts}+{redundancy.parity_parts}"
    return f"losses:{redundancy.losses}" if redundancy.losses else ""
