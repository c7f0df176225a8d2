"""Names of the registry: `registry/{kind}` and `registry/{kind}/registrations/{id}`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from measurand.core.names import ANY, check_id
from measurand.wire.errors import NameInvalid

__all__ = ["RegistrationName", "parse_kind", "parse_registration"]

_KIND = re.compile(r"registry/([^/]*)")
_REGISTRATION = re.compile(r"registry/([^/]*)/registrations/([^/]*)")


@dataclass(frozen=True, slots=True)
class RegistrationName:
    """`registry/{kind}/registrations/{id}`."""

    kind: str
    id: str

    @property
    def scope(self) -> str:
        """`registry/{kind}`."""
        return f"registry/{self.kind}"

    def __str__(self) -> str:
        return f"registry/{self.kind}/registrations/{self.id}"


def parse_registration(name: str, *, field: str = "name") -> RegistrationName:
    """Take `registry/{kind}/registrations/{id}` apart, or raise NameInvalid."""
    match = _REGISTRATION.fullmatch(name)
    if match is None:
        raise _fault(name, field, "registry/{kind}/registrations/{id}")
    return RegistrationName(check_id(match[1], field=field), check_id(match[2], field=field))


def parse_kind(parent: str, *, field: str = "parent") -> str | None:
    """Return the kind of `registry/{kind}`; None for `registry/-`, which is all of them. Raises NameInvalid."""
    match = _KIND.fullmatch(parent)
    if match is None:
        raise _fault(parent, field, "registry/{kind}")
    return None if match[1] == ANY else check_id(match[1], field=field)


def _fault(name: str, field: str, form: str) -> NameInvalid:
    shown = ascii(name) if len(name) <= 200 else f"{name[:200]!a}…"
    return NameInvalid(f"{field}: {shown} is no name of the form {form}", field=field, name=name)
