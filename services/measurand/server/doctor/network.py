"""What only the stores on the network have: members, clocks, indexes, and services that differ in what they can do."""

from __future__ import annotations

import asyncio

from measurand.core.means import Means
from measurand.server.config import Place
from measurand.server.doctor.findings import Report
from measurand.server.doctor.folders import note_room

__all__ = ["check_bucket", "check_replica_set"]

SKEW_SECONDS = 5.0
FEWEST_MEMBERS = 3
CLOCKS = "set both clocks by a time service (chrony, ntpd)"


async def check_replica_set(report: Report, place: Place) -> None:
    """See how the deployment of MongoDB stands."""
    from measurand.storage.documents.mongo.state import State, state_of

    state: State | None = None
    async with report.trying("documents: members", "to ask MongoDB how it stands") as note:
        state = await state_of(place.url)
        if state.set_name:
            what = f"MongoDB {state.release}, replica set {state.set_name}, primary {state.primary}"
        else:
            what = f"MongoDB {state.release}, a sharded cluster"
        count = len(state.members)
        if state.away:
            advice = "see that these members run; their names in the configuration of the set must resolve here"
            note.warn(f"{what}; from here these of {count} members are not reached: {', '.join(state.away)}", advice)
        elif state.set_name and count < FEWEST_MEMBERS:
            few = "1 member only: without it" if count == 1 else f"{count} members only: without either"
            advice = "add members until there are three, so that the loss of one stops nothing"
            note.warn(f"{what}; {few} nothing is written", advice)
        else:
            note.message = f"{what}; all of {count} members are reached" if count else what
    if state is None:
        return
    if abs(state.skew_seconds) > SKEW_SECONDS:
        way = "ahead of" if state.skew_seconds > 0 else "behind"
        message = f"MongoDB's clock is {abs(state.skew_seconds):.0f} seconds {way} this machine's"
        report.warn("documents: clock", f"{message}: servers may differ on what has expired", CLOCKS)
    else:
        report.ok("documents: clock", "MongoDB's clock agrees with this machine's")
    if state.missing_indexes:
        message = "; ".join(text.partition("; ")[0] for text in state.missing_indexes)
        report.fail("documents: indexes", message, "restart a server: it makes them when it first uses the collections")
    else:
        report.ok("documents: indexes", "all collections have their indexes")
    report.ok("documents: durability", "writes wait until a majority of the members has them in its journal")
    if state.total_bytes:
        note_room(report, "documents: room", state.free_bytes, state.total_bytes)


async def check_bucket(report: Report, place: Place, means: Means) -> None:
    """See what the S3 service can do. None of it is needed, but for lists of parts."""
    from measurand.storage.blobs.s3.features import features_of
    from measurand.storage.blobs.s3.location import parse_location

    async with report.trying("blobs: features", "to find out what the S3 service can do") as note:
        name = f"checks/doctor-{means.random_bytes(8).hex()}"
        found = await asyncio.to_thread(features_of, parse_location(place.url), name)
        features = {
            "lists of parts": found.has_part_lists,
            "lists of uploads": found.has_upload_lists,
            "conditional put": found.has_conditional_put,
            "checksums": found.has_checksums,
        }
        what = ", ".join(f"{name}: {'yes' if is_there else 'no'}" for name, is_there in features.items())
        server = f"it calls itself {found.server!r}; " if found.server else ""
        if found.has_part_lists:
            note.message = f"{server}{what} (only the first is needed)"
        else:
            note.fail(f"{server}{what}: uploads that were cut off could not go on", "use another S3 service")
