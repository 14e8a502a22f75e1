"""Tasks, users and keys in MongoDB, by motor: the one file that imports it.

Collections `tasks`, `users`, `keys`, `durations` and `meta`, the documents those of `documents.py` with
their id or name as `_id`; `roles` and `adoptions` are of instances that share them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import pymongo
from bson import Int64
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import IndexModel, WriteConcern
from pymongo.errors import ConfigurationError, DuplicateKeyError, InvalidURI, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from sora_ws.callbacks import Callback
from sora_ws.durations import Durations, Kind
from sora_ws.store import (
    DEADLINE_SECONDS,
    LINE,
    Claimant,
    Page,
    Stale,
    StoreFull,
    StoreUnavailable,
    User,
    UserExists,
    conflict,
    documents,
)
from sora_ws.store.mongo_leases import (
    LONGEST_DUE_FIRST,
    claimed,
    free_for,
    has_a_place_or_gets_it_before,
    insert_claimed,
    leased,
)
from sora_ws.task import AT_PROVIDER, NEVER, State, Task, Watch

SELECTION_SECONDS: Final = 2.0  # how long a call looks for a server that is not there
LEAVE_SECONDS: Final = 1.0  # for telling the server that its sessions are over
BUILD_SECONDS: Final = 600.0  # for an index over what an older version has left

OUT_OF_DISK_SPACE: Final = 14031

RELAXED: Final = WriteConcern(w=1)
NEWEST: Final = ReadConcern("local")
"""Of what is about to be changed: a change is made over what the primary holds, told to others or not."""

NEWEST_FIRST: Final = {"createdAt": -1, "_id": -1}
OLDEST_FIRST: Final = {"createdAt": 1, "_id": 1}
LATEST_FIRST: Final = {"seq": -1, "_id": -1}
LONGEST_DUE_CALLBACK_FIRST: Final = {"callback.dueAt": 1, "_id": 1}

TASK_INDEXES: Final = (
    IndexModel(
        {"userId": 1, "idempotency.key": 1},
        name="tasks_by_key",
        unique=True,
        partialFilterExpression={"idempotency.key": {"$exists": True}},
    ),
    IndexModel(
        {"place": 1, "userId": 1} | OLDEST_FIRST,
        name="tasks_by_place",
        partialFilterExpression={"place": {"$gt": ""}},
    ),
    IndexModel({"jobId": 1}, name="tasks_by_job", partialFilterExpression={"jobId": {"$gt": ""}}),
    IndexModel({"userId": 1} | NEWEST_FIRST, name="tasks_of_user"),
    IndexModel({"userId": 1, "status": 1} | NEWEST_FIRST, name="tasks_of_user_by_status"),
    IndexModel({"team": 1} | NEWEST_FIRST, name="tasks_of_team"),
    IndexModel({"team": 1, "status": 1} | NEWEST_FIRST, name="tasks_of_team_by_status"),
    *(
        IndexModel({"live": 1} | keys, name=name, partialFilterExpression={"live": True})
        for name, keys in {
            "live_tasks": OLDEST_FIRST,
            "live_tasks_of_user": {"userId": 1} | OLDEST_FIRST,
            "live_tasks_of_team": {"team": 1} | OLDEST_FIRST,
            "due_tasks": LONGEST_DUE_FIRST,
        }.items()
    ),
    IndexModel(
        LONGEST_DUE_CALLBACK_FIRST | {"callback.host": 1, "userId": 1},
        name="due_callbacks",
        partialFilterExpression={"callback.dueAt": {"$gt": 0}},
    ),
    *(
        IndexModel({"live": 1} | keys | LATEST_FIRST, name=name, partialFilterExpression={"live": False})
        for name, keys in {"ended_tasks_of_user": {"userId": 1}, "ended_tasks_of_team": {"team": 1}}.items()
    ),
)
USER_INDEXES: Final = (
    IndexModel({"disabled": 1, "_id": 1}, name="disabled_users", partialFilterExpression={"disabled": True}),
)


ADOPTION_INDEXES: Final = (IndexModel({"at": 1}, name="old_adoptions", expireAfterSeconds=24 * 3600),)


class _PlainInt(TypeDecoder):
    """BSON's 64-bit integers as ints: `Int64` is a subclass that no JSON encoder takes."""

    bson_type = Int64

    def transform_bson(self, value: int) -> int:
        return int(value)


CODEC: CodecOptions[dict[str, Any]] = CodecOptions(type_registry=TypeRegistry([_PlainInt()]))


class MongoStore:
    """`Store` over the database that `url` names: `mongodb://HOST/NAME`, options as the driver's.

    Raises ValueError for a URL that can't be read, and later for text and numbers that BSON
    can't hold. Writes are acknowledged by the majority and its journals, but `reschedule` and leases.
    With a `claimant` it is a `ClaimStore`; without, every task is its own.
    """

    def __init__(
        self, url: str, *, deadline: float = DEADLINE_SECONDS, claimant: Claimant | None = None
    ) -> None:
        self._url = url
        self._deadline = deadline
        self._claimant = claimant
        self._gives_places_until: datetime | None = None  # by the server's clock, since it first did
        self._client: Any = _client(url, deadline)  # takes the loop, and connects, with its first call
        self._opened: Any = None

    async def open(self) -> None:
        if self._client is None:
            self._client = _client(self._url, self._deadline)
        database = self._client.get_default_database(codec_options=CODEC)
        try:
            await self._prepare(database)
        except StoreFull as error:
            raise StoreUnavailable(str(error)) from error
        self._opened = database

    async def ping(self) -> None:
        async with self.database() as database:
            await database.command("ping")

    async def close(self) -> None:
        client, self._client, self._opened = self._client, None, None
        if client is not None:
            with pymongo.timeout(LEAVE_SECONDS):
                await asyncio.to_thread(client.close)

    async def insert(self, task: Task) -> None:
        document = _stored(documents.task_to_document(task))
        try:
            async with self.database() as database:
                if self._claimant is None or task.waits:
                    await database.tasks.insert_one(document)
                else:
                    before = self._gives_places_until if task.is_at_provider else None
                    await insert_claimed(database.tasks, document, self._claimant, before)
        except DuplicateKeyError as error:
            raise await conflict(self, task) from error

    async def save(self, task: Task, over_seq: int) -> None:
        document = documents.task_to_document(task)
        del document["id"], document["idempotency"]
        wanted: dict[str, Any] = {"_id": task.id, "seq": over_seq}
        if task.is_at_provider and self._gives_places_until is not None:
            wanted |= has_a_place_or_gets_it_before(self._gives_places_until)
        async with self.database() as database:
            result = await database.tasks.update_one(wanted, {"$set": document})
        if not result.matched_count:
            raise Stale(f"task {task.id} is no longer at seq {over_seq}, or its place is another's to give")

    async def reschedule(self, task_id: str, watch: Watch) -> None:
        document = documents.watch_to_document(watch)
        async with self.database() as database:
            tasks = database.tasks.with_options(write_concern=RELAXED)
            await tasks.update_one({"_id": task_id, "live": True} | self._mine, {"$set": {"watch": document}})

    async def mark_sent(self, task: Task) -> None:
        watch = documents.watch_to_document(task.watch)
        unsent = {"_id": task.id, "live": True, "seq": task.seq, "watch.sentAt": None} | self._mine
        async with self.database() as database:
            result = await database.tasks.update_one(unsent, {"$set": {"watch": watch}})
        if not result.matched_count:
            raise Stale(f"task {task.id} was sent by another, or has changed")

    async def settled(self) -> None:
        await asyncio.sleep(self._deadline)  # behind which the driver has given up, too

    async def find(self, task_id: str) -> Task | None:
        found = await self.find_all([task_id])
        return found[0] if found else None

    async def find_all(self, task_ids: Collection[str]) -> Sequence[Task]:
        found = await self._tasks({"_id": {"$in": [*task_ids]}})
        missing = set(task_ids).difference(task.id for task in found)
        if not missing:
            return found
        # A new primary does not know for a moment how much of what it has the majority has, too: somebody
        # was told these ids, so what it has of them is right, and only what it has not either is gone.
        async with self.database() as database:
            newest = await _newest(database.tasks).find({"_id": {"$in": [*missing]}}).to_list(None)
        return [*found, *map(_task, newest)]

    async def find_by_key(self, user_id: str, key: str) -> Task | None:
        return await self._task({"userId": user_id, "idempotency.key": key})

    async def forget_key(self, task_id: str) -> None:
        async with self.database() as database:
            await database.tasks.update_one({"_id": task_id}, {"$set": {"idempotency": None}})

    async def list(self, page: Page) -> Sequence[Task]:
        return await self._tasks(_filter(page), NEWEST_FIRST, page.limit)

    async def live(self, *, user_id: str | None = None, team: str | None = None) -> Sequence[Task]:
        wanted: dict[str, Any] = {"live": True}
        if user_id is not None:
            wanted["userId"] = user_id
        if team is not None:
            wanted["team"] = team
        return await self._tasks(wanted, OLDEST_FIRST)

    async def ended_since(self, user_id: str, seq: int, limit: int) -> Sequence[Task]:
        wanted = {"live": False, "userId": user_id, "seq": {"$gt": seq}}
        return (await self._tasks(wanted, LATEST_FIRST, limit))[::-1]

    async def live_of(self, *, user_ids: Collection[str] = (), teams: Collection[str] = ()) -> Sequence[Task]:
        return await self._tasks({"live": True} | _of(user_ids, teams))

    async def ended_of(
        self, seq: int, *, user_ids: Collection[str] = (), teams: Collection[str] = ()
    ) -> Sequence[Task]:
        return await self._tasks({"live": False} | _of(user_ids, teams) | {"seq": {"$gt": seq}})

    async def count_live(self, user_id: str | None = None) -> int:
        wanted = {"live": True} if user_id is None else {"live": True, "userId": user_id}
        async with self.database() as database:
            return int(await database.tasks.count_documents(wanted))

    async def count_by_state(self) -> Mapping[State, int]:
        groups = [{"$match": {"live": True}}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]
        async with self.database() as database:
            found = await database.tasks.aggregate(groups).to_list(None)
        return {State(group["_id"]): int(group["count"]) for group in found}

    async def due(self, until: int, limit: int, *, but_not: Collection[str] = ()) -> Sequence[Task]:
        wanted = {"live": True, "watch.nextLookAt": {"$lte": until}, "_id": {"$nin": [*but_not]}}
        if limit == 0:  # which means "all" to MongoDB
            return []
        async with self.database() as database:
            tasks = database.tasks.with_options(write_concern=RELAXED, read_concern=NEWEST)
            if self._claimant is not None:
                wanted = await claimed(tasks, wanted, limit, self._claimant)
            found = await tasks.find(wanted, sort=LONGEST_DUE_FIRST, limit=limit).to_list(None)
        return [_task(document) for document in found]

    async def renew(self, task_ids: Collection[str]) -> None:
        async with self.database() as database:
            tasks = database.tasks.with_options(write_concern=RELAXED)
            await tasks.update_many({"_id": {"$in": [*task_ids]}} | self._mine, leased(self.claimant))

    async def release(self) -> None:
        async with self.database() as database:
            await database.roles.delete_many(self._mine)
            await database.tasks.update_many({"live": True} | self._mine, {"$unset": {"lease": ""}})

    async def hasten(self, task_id: str, now: int) -> None:
        later = {"_id": task_id, "live": True, "watch.nextLookAt": {"$gt": now, "$lt": NEVER}}
        soon = {"$set": {"watch.nextLookAt": now, "watch.plannedAt": now}}
        async with self.database() as database:
            await database.tasks.with_options(write_concern=RELAXED).update_one(later, soon)

    async def lead(self, role: str, term_ms: int) -> bool:
        term = Claimant(self.claimant.name, term_ms)
        async with self.database() as database:
            free = {"_id": role} | free_for(term)
            led = await database.roles.find_one_and_update(free, leased(term), return_document=True)
            if led is None:
                mine = {"_id": role} | self._mine
                try:  # nobody has had it yet, or another has it now
                    led = await database.roles.find_one_and_update(
                        mine, leased(term), upsert=True, return_document=True
                    )
                except DuplicateKeyError:
                    return False
        if role == LINE:
            self._gives_places_until = led["lease"]["until"]
        return True

    async def led(self) -> Sequence[str]:
        async with self.database() as database:
            return await _ids_of(_newest(database.roles), {"$expr": {"$gt": ["$lease.until", "$$NOW"]}})

    async def are_creates_under_way(self, prompt: str) -> bool:
        sent = {"place": documents.AT_PROVIDER, "jobId": None, "order.prompt": prompt}
        is_sent = {"watch.sentAt": {"$gt": 0}, "$expr": {"$lte": ["$watch.plannedAt", "$watch.sentAt"]}}
        async with self.database() as database:
            return await _newest(database.tasks).find_one(sent | is_sent, {"_id": 1}) is not None

    async def adopt(self, job_id: str, task_id: str) -> bool:
        this = {"_id": job_id, "taskId": task_id}
        try:
            async with self.database() as database:
                await database.adoptions.update_one(this, {"$currentDate": {"at": True}}, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    @property
    def claimant(self) -> Claimant:
        """Who claims here. Raises TypeError for a store that is not shared."""
        if self._claimant is None:
            raise TypeError("a store without a claimant claims nothing")
        return self._claimant

    @property
    def _mine(self) -> dict[str, Any]:
        """Of the tasks those that this instance looks after; all of them where it is alone."""
        return {} if self._claimant is None else {"lease.owner": self._claimant.name}

    async def bring_forward(self, now: int) -> int:
        due = {"$gte": now, "$lt": NEVER}
        wanted = {"live": True, "watch.nextLookAt": due, "watch.plannedAt": {"$gt": now}}
        wait = {"$subtract": ["$watch.nextLookAt", "$watch.plannedAt"]}
        from_now = {"watch.nextLookAt": {"$add": [now, wait]}, "watch.plannedAt": now}
        async with self.database() as database:
            result = await database.tasks.update_many(wanted, [{"$set": from_now}])
        return int(result.modified_count)

    async def bring_callbacks_forward(self, now: int) -> int:
        tried_later = [{"callback.attempts": 0}, {"callback.triedAt": {"$gt": now}}]
        wanted = {"callback.dueAt": {"$gt": now}, "$or": tried_later}
        is_untried = {"$eq": ["$callback.attempts", 0]}
        wait = {"$subtract": ["$callback.dueAt", "$callback.triedAt"]}
        from_now = {
            "callback.dueAt": {"$cond": [is_untried, now, {"$add": [now, wait]}]},
            "callback.triedAt": {"$cond": [is_untried, "$callback.triedAt", now]},
            "callback.revision": {"$add": ["$callback.revision", 1]},
        }
        async with self.database() as database:
            result = await database.tasks.update_many(wanted, [{"$set": from_now}])
        return int(result.modified_count)

    async def find_by_job(self, job_id: str) -> Task | None:
        return await self._task({"jobId": job_id, "live": True})

    async def at_provider(self) -> Sequence[str]:
        # As behind a failover a place counts that the majority has, and is not known to have.
        async with self.database() as database:
            return await _ids_of(_newest(database.tasks), {"place": documents.AT_PROVIDER})

    async def users_in_line(self) -> Sequence[tuple[str, int]]:
        oldest = {"_id": "$userId", "count": {"$sum": 1}, "oldest": {"$min": "$createdAt"}}
        async with self.database() as database:
            steps = [{"$match": {"place": documents.IN_LINE}}, {"$group": oldest}]
            found = await database.tasks.aggregate(steps).to_list(None)
        rows = sorted((row["oldest"], row["_id"], row["count"]) for row in found)
        return [(user_id, count) for _, user_id, count in rows]

    async def ids_in_line(self, user_id: str, limit: int | None = None) -> Sequence[str]:
        wanted = {"place": documents.IN_LINE, "userId": user_id}
        async with self.database() as database:
            return await _ids_of(database.tasks, wanted, OLDEST_FIRST, limit)

    async def known_jobs(self, job_ids: Sequence[str]) -> frozenset[str]:
        async with self.database() as database:
            wanted = {"jobId": {"$in": [*job_ids]}}
            found = await _newest(database.tasks).find(wanted, {"jobId": 1}).to_list(None)
        return frozenset(document["jobId"] for document in found)

    async def due_callbacks(
        self, until: int, limit: int, *, but_not_to: Collection[str] = (), but_not_of: Collection[str] = ()
    ) -> Sequence[Task]:
        wanted = {
            "callback.dueAt": {"$gt": 0, "$lte": until},
            "callback.host": {"$nin": [*but_not_to]},
            "userId": {"$nin": [*but_not_of]},
        }
        return await self._tasks(wanted, LONGEST_DUE_CALLBACK_FIRST, limit)

    async def save_callback(self, task_id: str, callback: Callback, over_revision: int) -> None:
        document = documents.callback_to_document(callback)
        wanted = {"_id": task_id, "callback.revision": over_revision}
        async with self.database() as database:
            result = await database.tasks.update_one(wanted, {"$set": {"callback": document}})
        if not result.matched_count:
            raise Stale(f"the callback of task {task_id} is no longer at revision {over_revision}")

    async def expire_video(self, task_id: str) -> None:
        async with self.database() as database:
            with_video = {"_id": task_id, "video.size": {"$exists": True}}
            await database.tasks.update_one(with_video, {"$set": {"video.expired": True}})

    async def delete(self, task_id: str) -> None:
        async with self.database() as database:
            await database.tasks.delete_one({"_id": task_id})

    async def add_user(self, user: User) -> None:
        document = documents.user_to_document(user)
        try:
            async with self.database() as database:
                await database.users.insert_one({"_id": user.name} | document)
        except DuplicateKeyError as error:
            raise UserExists(user.name) from error

    async def find_user(self, name: str) -> User | None:
        async with self.database() as database:
            document = await database.users.find_one({"_id": name})
        return documents.user_from_document(document) if document else None

    async def replace_user(self, user: User) -> None:
        document = documents.user_to_document(user)
        async with self.database() as database:
            await database.users.replace_one({"_id": user.name}, document)

    async def users(self) -> Sequence[User]:
        async with self.database() as database:
            found = await database.users.find(sort={"_id": 1}).to_list(None)
        return [documents.user_from_document(document) for document in found]

    async def disabled_users(self) -> frozenset[str]:
        async with self.database() as database:
            found = await database.users.find({"disabled": True}, {"_id": 1}).to_list(None)
        return frozenset(document["_id"] for document in found)

    async def keep(self, name: str, candidate: str) -> str:
        try:
            async with self.database() as database:
                await database.keys.insert_one({"_id": name, "secret": candidate})
        except DuplicateKeyError:
            async with self.database() as database:
                kept = await database.keys.find_one({"_id": name})
            return str(kept["secret"])
        return candidate

    async def experience(self) -> Mapping[Kind, Durations]:
        async with self.database() as database:
            found = await database.durations.find().to_list(None)
        return dict(documents.durations_from_document({"id": kept["_id"]} | kept) for kept in found)

    async def keep_durations(self, kind: Kind, durations: Durations) -> None:
        document = _stored(documents.durations_to_document(kind, durations))
        async with self.database() as database:
            kept = database.durations.with_options(write_concern=RELAXED)
            await kept.replace_one({"_id": document["_id"]}, document, upsert=True)

    async def forget_durations(self, kind: Kind) -> None:
        async with self.database() as database:
            await database.durations.delete_one({"_id": documents.kind_id(kind)})

    async def _prepare(self, database: Any) -> None:
        async with _answer_within(self._deadline):
            meta = await database.meta.find_one({"_id": "format"})
        documents.check_format(meta["format"] if meta else documents.FORMAT)
        async with _answer_within(BUILD_SECONDS):
            with pymongo.timeout(BUILD_SECONDS):  # which wins over the client's own timeouts
                await database.tasks.create_indexes([*TASK_INDEXES])
                await database.users.create_indexes([*USER_INDEXES])
                await database.adoptions.create_indexes([*ADOPTION_INDEXES])
                # The first version wrote no `place`: what it has left at the provider would not be counted.
                without = {"live": True, "place": {"$exists": False}, "state": {"$in": [*AT_PROVIDER]}}
                await database.tasks.update_many(without, {"$set": {"place": documents.AT_PROVIDER}})
        async with _answer_within(self._deadline):
            format_now = {"$set": {"format": documents.FORMAT}}
            await database.meta.update_one({"_id": "format"}, format_now, upsert=True)

    async def _task(self, wanted: Mapping[str, Any]) -> Task | None:
        async with self.database() as database:
            document = await database.tasks.find_one(wanted)
        return _task(document) if document else None

    async def _tasks(
        self, wanted: Mapping[str, Any], order: Mapping[str, int] | None = None, limit: int | None = None
    ) -> Sequence[Task]:
        if limit == 0:  # which means "all" to MongoDB
            return []
        async with self.database() as database:
            found = await database.tasks.find(wanted, sort=order, limit=limit or 0).to_list(None)
        return [_task(document) for document in found]

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """For calls to the open database, all of them within one deadline; its errors are the port's."""
        if self._opened is None:
            raise StoreUnavailable("the database is not open")
        async with _answer_within(self._deadline):
            yield self._opened


@asynccontextmanager
async def _answer_within(seconds: float) -> AsyncIterator[None]:
    """Gives the calls inside a deadline, and says in the port's words what went wrong.

    DuplicateKeyError is left to who expects it.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise StoreUnavailable("MongoDB took too long") from error
    except OverflowError as error:
        raise ValueError("an integer of more than 64 bits can't be stored") from error
    except DuplicateKeyError:
        raise
    except PyMongoError as error:
        is_full = isinstance(error, OperationFailure) and error.code == OUT_OF_DISK_SPACE
        # Behind these words the driver goes on with its settings and all it knows of the servers.
        text = re.split(r" \(configured timeouts|, Timeout:|, full error:", str(error))[0]
        raise (StoreFull if is_full else StoreUnavailable)(f"MongoDB: {text}") from error


def _client(url: str, deadline: float) -> Any:
    try:
        client: Any = AsyncIOMotorClient(
            url,
            appname="sora-ws",
            serverSelectionTimeoutMS=int(SELECTION_SECONDS * 1000),
            connectTimeoutMS=int(SELECTION_SECONDS * 1000),
            socketTimeoutMS=int(deadline * 1000),
            w="majority",
            journal=True,
            readPreference="primary",
            # What a primary that dies has not told the others is undone, and must not have been shown.
            readConcernLevel="majority",
        )
        client.get_default_database()
    except (InvalidURI, ConfigurationError, ValueError):
        # The driver's own sentence may quote a password that was not encoded.
        raise ValueError(
            "a MongoDB database is mongodb://HOST/NAME, special characters percent-encoded"
        ) from None
    return client


def _newest(collection: Any) -> Any:
    """For a read of what the primary holds, whether or not it knows yet that the majority has it."""
    return collection.with_options(read_concern=NEWEST)


async def _ids_of(
    collection: Any,
    wanted: Mapping[str, Any],
    order: Mapping[str, int] | None = None,
    limit: int | None = None,
) -> Sequence[str]:
    found = await collection.find(wanted, {"_id": 1}, sort=order, limit=limit or 0).to_list(None)
    return [document["_id"] for document in found]


def _filter(page: Page) -> dict[str, Any]:
    wanted: dict[str, Any] = {"userId": page.user_id} if page.team is None else {"team": page.team}
    if page.status is not None:
        wanted["status"] = page.status.value
    if page.before is not None:
        created_at, task_id = page.before
        wanted["createdAt"] = {"$lte": created_at}
        wanted["$or"] = [{"createdAt": {"$lt": created_at}}, {"_id": {"$lt": task_id}}]
    return wanted


def _of(user_ids: Collection[str], teams: Collection[str]) -> dict[str, Any]:
    return {"userId": {"$in": [*user_ids]}} if user_ids else {"team": {"$in": [*teams]}}


def _stored(document: documents.Document) -> documents.Document:
    return {"_id": document.pop("id")} | document


def _task(document: documents.Document) -> Task:
    return documents.task_from_document({"id": document.pop("_id")} | document)
