"""The steps that bring the documents of an older release up to this one, each from one format to the next.

A step can be cut short anywhere and taken again: it changes one document at a time, and leaves alone those that it has
changed before. The number of the format is written when the step is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from measurand.core.deployments import FORMAT, check_format, fetch_deployment, keep_deployment
from measurand.core.file_documents import SUPERSEDED, file_of, superseded_view
from measurand.core.ports import Document, DocumentStore, Order, Position
from measurand.wire.errors import Contention, FailedPrecondition

__all__ = ["STEPS", "Step", "migrate"]

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Step:
    """A step to a format.

    Parameters
    ----------
    what : str
        What it does, as an operator is told.
    run : callable
        Does it, and returns how many documents it has changed.
    """

    to: int
    what: str
    run: Callable[[DocumentStore], Awaitable[int]]


async def migrate(documents: DocumentStore) -> Sequence[tuple[Step, int]]:
    """Bring the documents up to this release, and return the steps that were taken, each with what it has changed.

    Nobody serves the store meanwhile.

    Raises
    ------
    FailedPrecondition
        STATE_WRONG: they are of a newer release, or not all there.
    """
    deployment = await fetch_deployment(documents)
    if deployment is None:
        raise FailedPrecondition("nobody has used this store yet; there is nothing to migrate", state="empty")
    if deployment.format > FORMAT:
        check_format("the documents have", deployment.format)
    if deployment.unfinished:
        raise FailedPrecondition(f"this store is an unfinished {deployment.unfinished}", state="unfinished")
    taken: list[tuple[Step, int]] = []
    for step in STEPS[deployment.format :]:
        changed = await step.run(documents)
        deployment = await keep_deployment(documents, replace(deployment, format=step.to))
        taken.append((step, changed))
    return taken


async def _keep_expiry(documents: DocumentStore) -> int:
    """Put into superseded generations when they expire. Only their views had it, and an order by it tells."""
    changed = 0
    order = (Order("expires", required=True),)
    after: Position | None = None
    while found := await documents.find(SUPERSEDED, order=order, after=after, limit=AT_ONCE):
        for item in found:
            [expires] = item.position.values
            old = item.document
            if "expires" in old.body:
                continue
            assert expires is not None and isinstance(expires.value, int)
            view = superseded_view(file_of(old), expires.value)
            new = Document(old.key, old.scope, {**old.body, "expires": expires.value}, view=view)
            if await documents.replace(SUPERSEDED, new, expected_revision=old.revision) is None:
                raise Contention(f"{old.key}: somebody else writes to this store; stop what serves it, and try again")
            changed += 1
        if len(found) < AT_ONCE:
            break
        after = found[-1].position
    return changed


STEPS: Sequence[Step] = (Step(1, "superseded generations keep the time at which they expire", _keep_expiry),)
"""The step to format n stands at n - 1."""
