"""Storage policies as messages, and back."""

from __future__ import annotations

from datetime import timedelta

from measurand.core.names import check_id
from measurand.core.placement.policies import Policy
from measurand.services.messages import span_of
from measurand.v1 import common_pb2
from measurand.wire.errors import InvalidArgument

__all__ = ["policy_message", "policy_of"]

PREFIX = "containers/"
_DAY = timedelta(days=1)


def policy_message(policy: Policy | None) -> common_pb2.StoragePolicy | None:
    """Return a policy as callers see it."""
    if policy is None:
        return None
    message = common_pb2.StoragePolicy(
        container_labels=dict(policy.container_labels),
        zones=policy.zones,
        min_zones=policy.min_zones,
        containers=[f"{PREFIX}{name}" for name in policy.containers],
        exclude=[f"{PREFIX}{name}" for name in policy.exclude],
        placement=policy.placement,
        target_reliability=policy.target_reliability,
        quorum=policy.acknowledge == "quorum",
        hot_copies=policy.hot_copies,
    )
    if policy.retention_days:
        message.retention.FromTimedelta(policy.retention_days * _DAY)
    if policy.replicas:
        message.replicas = policy.replicas
    elif policy.data_parts:
        message.erasure_code.data_parts = policy.data_parts
        message.erasure_code.parity_parts = policy.parity_parts
    elif policy.losses:
        message.losses = policy.losses
    return message


def policy_of(message: common_pb2.StoragePolicy, field: str) -> Policy:
    """Return the policy that a caller asks for. Raises InvalidArgument naming the field.

    Parameters
    ----------
    field : str
        Where it stands in the request, such as `catalog.storage_policy`.
    """
    redundancy = message.WhichOneof("redundancy")
    if redundancy and not (message.replicas or message.losses or message.erasure_code.ListFields()):
        raise InvalidArgument(
            f"{field}.{redundancy}: 0 is no number of parts; leave it out, or give at least 1", field=field
        )
    retention = span_of(message, "retention", f"{field}.retention")
    return Policy(
        replicas=message.replicas,
        data_parts=message.erasure_code.data_parts,
        parity_parts=message.erasure_code.parity_parts,
        losses=message.losses,
        container_labels=tuple(message.container_labels.items()),
        zones=tuple(message.zones),
        min_zones=message.min_zones,
        containers=tuple(_container(name, f"{field}.containers") for name in message.containers),
        exclude=tuple(_container(name, f"{field}.exclude") for name in message.exclude),
        placement=message.placement,
        target_reliability=message.target_reliability,
        retention_days=retention / _DAY if retention else 0.0,
        acknowledge="quorum" if message.quorum else "all",
        hot_copies=message.hot_copies,
    )


def _container(name: str, field: str) -> str:
    return check_id(name.removeprefix(PREFIX), field=field)
