"""Are there containers enough? Whether a server can do its work where all blobs go to containers."""

from __future__ import annotations

from measurand.core.containers.sites import BEAT_SECONDS, Sites
from measurand.core.placement.policies import USUAL_LOSSES, Policy, format_policy

__all__ = ["shortage"]

SILENT_SECONDS = 3 * BEAT_SECONDS
"""Sooner than a container is called down: load balancers are to hear of it within 20 seconds of its end."""


def shortage(sites: Sites, policy: Policy) -> str:
    """Say how many containers are missing of those that a policy needs; empty: none.

    What counts is whether they can be reached: one that is full or read-only is no fault that a restart, or another
    server, would mend.
    """
    names = list(sites.all)
    up = [name for name in names if sites.silent_seconds(name) <= SILENT_SECONDS]
    needed = policy.parts or (1 if policy.is_adaptive else (policy.losses or USUAL_LOSSES) + 1)
    if len(up) >= needed:
        return ""
    wanted = format_policy(policy) or f"losses:{USUAL_LOSSES}"
    return f"{len(up)} of {len(names)} containers can be reached, and {wanted} needs {needed}"
