"""What keeps blobs in containers whole, put together: what is done when somebody asks, and what by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from measurand.core.containers.healing.automatic import Automatic, Told
from measurand.core.containers.healing.choosing import Targets
from measurand.core.containers.healing.draining import Draining
from measurand.core.containers.healing.evening import Rebalancing
from measurand.core.containers.healing.garbage import Garbage
from measurand.core.containers.healing.looking import Looking
from measurand.core.containers.healing.mending import Mending
from measurand.core.containers.healing.pacing import Pace, usual_rate
from measurand.core.containers.healing.recoding import Recoding
from measurand.core.containers.healing.repairing import Repairing
from measurand.core.containers.healing.scrubbing import Scrubbing
from measurand.core.containers.healing.wanted import LOST, Wanted
from measurand.core.containers.placements import Placements
from measurand.core.containers.sites import Sites
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.operations.jobs import Handler
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.background import Job
from measurand.server.metrics import Figure, Series
from measurand.storage.blobs.spread import Spread

__all__ = ["HealingParts", "make_healing_parts"]

MINUTE = 60.0
HOUR = 60 * MINUTE
SCRUB_SHARE = 0.05
"""Of what the containers give: a scrub is in no hurry."""


@dataclass(frozen=True, slots=True)
class HealingParts:
    """The handlers of operations, what goes on beside, and what both can tell."""

    handlers: Mapping[str, Handler]
    jobs: Sequence[Job]
    own_figures: Sequence[Figure | Series]
    shared_figures: Sequence[Figure | Series]


def make_healing_parts(
    documents: DocumentStore,
    blobs: BlobStore,
    spread: Spread,
    placements: Placements,
    sites: Sites,
    wanted: Wanted,
    told: Told,
    means: Means,
    limits: Limits,
) -> HealingParts:
    """Return them.

    Parameters
    ----------
    blobs : BlobStore
        All blobs, as the rules see them.
    spread : Spread
        Those in containers.
    """
    pace = Pace(usual_rate(sites, limits.repair_bytes), means)
    slow = Pace(usual_rate(sites, limits.repair_bytes, share=SCRUB_SHARE), means)
    looking, targets = Looking(sites, spread.parts), Targets(sites, means)
    mending = Mending(looking, spread.parts, placements, targets, wanted, pace)
    garbage = Garbage(documents, blobs, placements, sites, means, limits)
    automatic = Automatic(documents, placements, sites, looking, mending, wanted, means, limits)
    scrubbing = Scrubbing(documents, placements, looking, wanted, means, limits, most_rate=slow)
    return HealingParts(
        handlers={
            "repair": Repairing(documents, placements, looking, mending, wanted, garbage, pace, means),
            "drain": Draining(documents, placements, spread.parts, sites, targets, pace),
            "rebalance": Rebalancing(documents, placements, spread.parts, sites, pace),
            "recode": Recoding(documents, means, spread.recoding, pace),
        },
        jobs=[
            Job("pass on damages", 1.0, told.pass_on),
            Job("repair", min(5.0, max(limits.repair_delay.total_seconds() / 2, 1.0)), automatic.run_once, shared=True),
            Job("scrub", MINUTE, scrubbing.run_once, shared=True),
            Job("collect parts", HOUR, garbage.run_once, shared=True),
        ],
        own_figures=_own_figures(told, mending, scrubbing, garbage),
        shared_figures=[
            Figure("measurand_blobs_at_risk", "Blobs that cannot lose another part.", lambda: _at_risk(wanted)),
            Figure("measurand_blobs_lost", "Blobs that can no longer be read in full.", lambda: _lost(wanted)),
            Figure("measurand_blobs_to_repair", "Blobs that miss parts.", lambda: float(sum(wanted.counts.values()))),
            Figure("measurand_parts_stuck", "Parts that could not be made good.", lambda: float(wanted.stuck)),
            Figure(
                "measurand_scrub_oldest_seconds",
                "How long ago the part was checked that waits for it longest; 0: none is due.",
                lambda: scrubbing.oldest_seconds,
            ),
        ],
    )


def _own_figures(told: Told, mending: Mending, scrubbing: Scrubbing, garbage: Garbage) -> list[Figure | Series]:
    def of(name: str, meaning: str, look: Callable[[], int], *, is_count: bool = True) -> Figure:
        return Figure(name, meaning, lambda: float(look()), is_count=is_count)

    return [
        of("measurand_bad_parts", "Parts that readers found bad.", lambda: told.heard, is_count=True),
        of("measurand_repaired_parts", "Parts made anew.", lambda: mending.repaired_parts, is_count=True),
        of("measurand_repaired_bytes", "Their bytes.", lambda: mending.repaired_bytes, is_count=True),
        of("measurand_scrubbed_bytes", "Bytes read by scrubs.", lambda: scrubbing.checked_bytes, is_count=True),
        of("measurand_scrub_bad_parts", "Parts that scrubs found bad.", lambda: scrubbing.bad_parts, is_count=True),
        of("measurand_garbage_parts", "Parts that nothing named.", lambda: garbage.collected_parts, is_count=True),
        of("measurand_garbage_bytes", "Their bytes.", lambda: garbage.collected_bytes, is_count=True),
    ]


def _at_risk(wanted: Wanted) -> float:
    return float(wanted.counts.get(1, 0))


def _lost(wanted: Wanted) -> float:
    return float(wanted.counts.get(LOST, 0))
