"""What is known of an operation without asking: what both handles have, whether they wait or are awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf import symbol_database
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from measurand.client import display, names
from measurand.client.problems import error_of
from measurand.client.results import time_of
from measurand.v1 import operations_pb2
from measurand.wire.errors import Cancelled, MeasurandError

__all__ = ["OperationFacts", "OperationProgress"]

FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class OperationProgress:
    """How far an operation is.

    Parameters
    ----------
    done, total : int
        Units done, and units in all; 0: that is not known yet.
    unit : str
        What the units are: `bytes`, `blobs`, …
    message : str
        What it is doing, in a few words.
    """

    done: int
    total: int
    unit: str
    message: str


class OperationFacts:
    """An operation as a message told of it."""

    def __init__(self, message: operations_pb2.Operation) -> None:
        self._message = message

    @property
    def name(self) -> str:
        """Its resource name, `operations/{id}`."""
        return self._message.name

    @property
    def id(self) -> str:
        """Its id, a ULID."""
        return names.last_part(self._message.name)

    @property
    def kind(self) -> str:
        """What it does, such as `drain`."""
        return self._message.kind

    @property
    def state(self) -> str:
        """`queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`."""
        name = operations_pb2.OperationState.Name(self._message.state)
        return name.removeprefix("OPERATION_STATE_").lower()

    @property
    def is_done(self) -> bool:
        """It has ended, well or not."""
        return self.state in FINAL

    @property
    def progress(self) -> OperationProgress:
        """How far it is."""
        said = self._message.progress
        return OperationProgress(said.done, said.total, said.unit, said.message)

    @property
    def targets(self) -> Sequence[str]:
        """The resources it works on; of more than 1000 the first ones."""
        return tuple(self._message.targets)

    @property
    def response(self) -> Mapping[str, Any] | None:
        """What came of it, by the names of the contract. None: it has not ended well."""
        if not self._message.HasField("response"):
            return None
        packed = self._message.response
        try:
            kind = symbol_database.Default().GetSymbol(packed.TypeName())
        except KeyError:  # of a newer release
            return {}
        return _facts(kind.FromString(packed.value))

    @property
    def problem(self) -> MeasurandError | None:
        """Why it failed. None: it has not."""
        return error_of(self._message.problem) if self._message.HasField("problem") else None

    @property
    def failed(self) -> Mapping[str, MeasurandError]:
        """The targets that failed, and why, where others went well."""
        return {one.target: error_of(one.problem) for one in self._message.target_problems}

    @property
    def attempt(self) -> int:
        """How often a server began it: more than once where one was lost or stopped."""
        return self._message.attempt

    @property
    def creator(self) -> str:
        """Who began it, `users/{user}`."""
        return self._message.creator

    @property
    def created(self) -> datetime | None:
        """When it was asked for."""
        return time_of(self._message, "create_time")

    @property
    def started(self) -> datetime | None:
        """When a server first took it up."""
        return time_of(self._message, "start_time")

    @property
    def updated(self) -> datetime | None:
        """When any of this last changed."""
        return time_of(self._message, "update_time")

    @property
    def ended(self) -> datetime | None:
        """When it ended."""
        return time_of(self._message, "end_time")

    @property
    def expires(self) -> datetime | None:
        """When it is forgotten, at least 30 days after its end."""
        return time_of(self._message, "expire_time")

    def _outcome(self) -> Mapping[str, Any]:
        if (problem := self.problem) is not None:
            raise problem
        if self.state == "cancelled":
            raise Cancelled(f"{self.name} was cancelled; begin it anew if it is still wanted")
        return self.response or {}

    def _shown(self) -> dict[str, Any]:
        said = self.progress
        far = f"{said.done}/{said.total}" if said.total else f"{said.done}" if said.done else ""
        problem = self.problem
        return {
            "kind": self.kind,
            "state": self.state,
            "progress": " ".join(filter(None, (far, said.unit, said.message))),
            "targets": list(self.targets[:3]),
            "failed": len(self.failed) or None,
            "problem": None if problem is None else problem.message,
        }

    def __repr__(self) -> str:
        return display.line("Operation", self.id, self._shown())

    def _repr_html_(self) -> str:
        facts = {**self._shown(), "response": self.response, "created": self.created, "ended": self.ended}
        return display.table(f"Operation {self.id}", facts.items())


def _facts(message: Message) -> dict[str, Any]:
    """Return a message as a dict: all of its fields, numbers as numbers, times as times."""
    return {field.name: _fact(message, field) for field in message.DESCRIPTOR.fields}


def _fact(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return dict(value)
        return [_plain(one, field) for one in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _plain(value, field)


def _plain(value: Any, field: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime(tzinfo=UTC)
    if isinstance(value, Duration):
        return value.ToTimedelta()
    if isinstance(value, Message):
        return _facts(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value
