"""Leases of tasks and roles in MongoDB: who has what, and until when by the server's clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sora_ws.store import Claimant, documents

LONGEST_DUE_FIRST: Final = {"watch.nextLookAt": 1, "_id": 1}


def free_for(claimant: Claimant) -> dict[str, Any]:
    """What it has, and what nobody has (any more)."""
    is_over = {"$expr": {"$not": [{"$gt": ["$lease.until", "$$NOW"]}]}}  # nothing is less than any time
    return {"$or": [{"lease.owner": claimant.name}, is_over]}


def leased(claimant: Claimant) -> list[dict[str, Any]]:
    """The update by which it is the claimant's, from now on."""
    until = {"$add": ["$$NOW", claimant.lease_ms]}
    return [{"$set": {"lease": {"owner": {"$literal": claimant.name}, "until": until}}}]


async def claimed(tasks: Any, wanted: dict[str, Any], limit: int, claimant: Claimant) -> dict[str, Any]:
    """Claim the first of these tasks: the filter that finds those that were won."""
    free = wanted | free_for(claimant)
    first = await tasks.find(free, {"_id": 1}, sort=LONGEST_DUE_FIRST, limit=limit).to_list(None)
    ids = {"_id": {"$in": [document["_id"] for document in first]}}
    if first:  # the same condition again: another may have been faster
        await tasks.update_many(free | ids, leased(claimant))
    return wanted | ids | {"lease.owner": claimant.name}


def has_a_place_or_gets_it_before(until: datetime) -> dict[str, Any]:
    """The filter of a save that leaves a task at the provider."""
    return {"$or": [{"place": documents.AT_PROVIDER}, {"$expr": _it_is_before(until)}]}


def _it_is_before(until: datetime) -> dict[str, Any]:
    return {"$lt": ["$$NOW", until]}


async def insert_claimed(
    tasks: Any, document: documents.Document, claimant: Claimant, before: datetime | None
) -> None:
    """An insert, as an update because only that knows the server's time. Raises DuplicateKeyError.

    Where there is a time to be `before`, one that is late is an error of the server's.
    """
    nothing = {
        "_id": document["_id"],
        "live": {"$exists": False},
    }  # one that is there is not found, and in the way
    new: dict[str, Any] = {"$literal": document}
    if before is not None:  # what is no document is quoted in the error
        new = {"$cond": [_it_is_before(before), new, "too late: another gives places out by now"]}
    await tasks.update_one(nothing, [{"$replaceWith": new}, *leased(claimant)], upsert=True)
