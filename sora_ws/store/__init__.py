"""The ports to what is remembered: tasks, users, keys, durations. Their adapters stand in the files beside.

Times are ms since the epoch. Every call has a deadline, and every failure of the database
itself ends as `StoreUnavailable` or `StoreFull`, never as a driver's error. A call that ended
so may have done its work all the same. Text and numbers that a database can't hold (lone
surrogates, more than 64 bits, a NUL in a name) are a ValueError.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sora_ws.callbacks import Callback
from sora_ws.durations import Durations, Kind
from sora_ws.task import State, Status, Task, Watch

LINE: Final = "line"
"""The role of who gives places at the provider out."""

DEADLINE_SECONDS: Final = 4.0  # of every call but `open`; a request that fails by it is answered within 5


class StoreError(Exception):
    """The store did not do what was asked."""


class StoreUnavailable(StoreError):
    """The database is away, locked, or too slow. The text is for the log."""


class StoreFull(StoreError):
    """The database has no room left on its disk."""


class NewerFormat(StoreError):
    """The database was written by a later version of sora-ws than this one."""


class Stale(StoreError):
    """The task has changed, or is gone, since it was read: read it again."""


class DuplicateKey(StoreError):
    """The user has sent this idempotency key before; `task` is what came of it."""

    def __init__(self, task: Task) -> None:
        super().__init__(f"idempotency key of task {task.id}")
        self.task = task


class UserExists(StoreError):
    """There is a user of this name already."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which tasks to list, newest first.

    Those of `user_id`, or with `team` those of that team, whoever owns them. `before` is the
    place where the page before ended: (created_at, id) of its last task, None for the first page.
    """

    user_id: str
    team: str | None = None
    status: Status | None = None
    before: tuple[int, str] | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may sign in here. The name is also the id that tokens carry."""

    name: str
    password_hash: str
    created_at: int
    disabled: bool = False


class TaskStore(Protocol):
    """Where tasks live. `seq` is the lock: whoever read an older one has to read again.

    `insert` and `save` are durable when they return; a `reschedule` may be lost with the power. What is read
    is never undone, so that it may be shown; only the `watch` that it comes with may be the one before, but
    for `due`.
    """

    async def insert(self, task: Task) -> None:
        """Keep a new task. Raises DuplicateKey where (user, idempotency key) is taken.

        A task that is kept already is a StoreError; where a key is being set free it is StoreUnavailable.
        """
        ...

    async def save(self, task: Task, over_seq: int) -> None:
        """Replace the task whose stored seq is `over_seq`. Raises Stale.

        Its idempotency key stays as it is stored: what `forget_key` freed may belong to another.
        """
        ...

    async def reschedule(self, task_id: str, watch: Watch) -> None:
        """Replace the task's `watch` alone, whatever its seq; an ended or gone task is left alone."""
        ...

    async def mark_sent(self, task: Task) -> None:
        """Keep the task's `watch`, by which a create is about to leave; durably. Raises Stale.

        It is Stale unless the stored one has the same seq and no create of it has left: of several who try,
        one may send it.
        """
        ...

    async def settled(self) -> None:
        """Returns when no write that failed with StoreUnavailable can take effect any more.

        Such a write may be under way still; before this, a read may not tell what becomes of it.
        """
        ...

    async def find(self, task_id: str) -> Task | None: ...

    async def find_all(self, task_ids: Collection[str]) -> Sequence[Task]:
        """Those of these tasks that there are, in any order."""
        ...

    async def find_by_key(self, user_id: str, key: str) -> Task | None:
        """The user's task that was created under this idempotency key."""
        ...

    async def forget_key(self, task_id: str) -> None:
        """Free the task's idempotency key for a new create."""
        ...

    async def list(self, page: Page) -> Sequence[Task]:
        """At most `page.limit` tasks by (created_at, id), both falling."""
        ...

    async def live(self, *, user_id: str | None = None, team: str | None = None) -> Sequence[Task]:
        """The tasks that have not ended, of one user or of one team, oldest first."""
        ...

    async def ended_since(self, user_id: str, seq: int, limit: int) -> Sequence[Task]:
        """The user's ended tasks with a higher `seq`, by it, rising; the `limit` highest of them."""
        ...

    async def live_of(self, *, user_ids: Collection[str] = (), teams: Collection[str] = ()) -> Sequence[Task]:
        """The tasks that have not ended, of these users or else of these teams, in any order."""
        ...

    async def ended_of(
        self, seq: int, *, user_ids: Collection[str] = (), teams: Collection[str] = ()
    ) -> Sequence[Task]:
        """The ended tasks with a higher `seq`, of these users or else of these teams, in any order."""
        ...

    async def count_live(self, user_id: str | None = None) -> int:
        """How many have not ended, of one user or in all."""
        ...

    async def count_by_state(self) -> Mapping[State, int]:
        """How many have not ended, by their state; without the states that no task is in."""
        ...

    async def due(self, until: int, limit: int, *, but_not: Collection[str] = ()) -> Sequence[Task]:
        """Live tasks with `next_look_at` <= `until`, the longest due first; none of these ids."""
        ...

    async def bring_forward(self, now: int) -> int:
        """Let live tasks with `planned_at` > `now` wait from `now` on, as long as they were to; how many.

        For a start behind a clock that was set back: they would wait until their old time. Who waits
        in line is left there.
        """
        ...

    async def bring_callbacks_forward(self, now: int) -> int:
        """The same for callbacks that wait for a time behind `now`, by when they were last tried; how many.

        One that was not tried since it became due is due at once.
        """
        ...

    async def find_by_job(self, job_id: str) -> Task | None:
        """The live task that the provider knows under this id."""
        ...

    async def at_provider(self) -> Sequence[str]:
        """The ids of the tasks that have a place at the provider."""
        ...

    async def users_in_line(self) -> Sequence[tuple[str, int]]:
        """The users who have tasks in line, and how many; first whose oldest is the oldest."""
        ...

    async def ids_in_line(self, user_id: str, limit: int | None = None) -> Sequence[str]:
        """The ids of the user's tasks in line, oldest first."""
        ...

    async def known_jobs(self, job_ids: Sequence[str]) -> frozenset[str]:
        """Those of the provider's jobs that a task has, live or ended; also what may be undone yet."""
        ...

    async def due_callbacks(
        self, until: int, limit: int, *, but_not_to: Collection[str] = (), but_not_of: Collection[str] = ()
    ) -> Sequence[Task]:
        """Tasks whose callback's `due_at` is <= `until`, the longest due first.

        None to these hosts, and none of these users.
        """
        ...

    async def save_callback(self, task_id: str, callback: Callback, over_revision: int) -> None:
        """Replace the task's `callback` alone, whatever its seq. Raises Stale.

        It is Stale unless the stored one has `over_revision`.
        """
        ...

    async def expire_video(self, task_id: str) -> None:
        """Note that the video of the completed task is no longer stored; its seq stays.

        No error where there is no such task or video.
        """
        ...

    async def delete(self, task_id: str) -> None:
        """Forget the task; no error where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Claimant:
    """One instance among several on a database: its name, and for how many ms what it claims is its own."""

    name: str
    lease_ms: int


class ClaimStore(TaskStore, Protocol):
    """A `TaskStore` that several instances share: each task is given to one of them.

    `due` gives a task to one claimant, who keeps it until its lease is over: then, or when it is
    released, it may be another's. Who `insert`s a task that is due has claimed it by that. `reschedule` of
    a task that is another's by now changes nothing. Leases are counted by the database's clock.
    """

    @property
    def claimant(self) -> Claimant: ...

    async def renew(self, task_ids: Collection[str]) -> None:
        """Those of the tasks that are this claimant's are so for a whole lease more."""
        ...

    async def release(self) -> None:
        """Nothing is this claimant's any more."""
        ...

    async def hasten(self, task_id: str, now: int) -> None:
        """The live task is due by `now`, whoever has it; unless it waits in line."""
        ...

    async def lead(self, role: str, term_ms: int) -> bool:
        """Take the role for this long, or keep it; False where another has it.

        One claimant has a role at a time. Behind the end of a term that it had of `LINE`, by the database's
        clock, it gives no task a place any more, however late its call arrives: a `save` is Stale then, an
        `insert` StoreUnavailable.
        """
        ...

    async def led(self) -> Sequence[str]:
        """The roles that somebody has, in any order."""
        ...

    async def are_creates_under_way(self, prompt: str) -> bool:
        """Whether a create with this prompt is on its way to the provider, as far as anybody knows.

        Not one whose task was planned anew since it left: its outcome is known to be unknown.
        """
        ...

    async def adopt(self, job_id: str, task_id: str) -> bool:
        """Give the job, which was found at the provider, to this task; False where another one was given it.

        Remembered for a day: by then the task has it, or has ended.
        """
        ...


class UserStore(Protocol):
    """Who may sign in with a password."""

    async def add_user(self, user: User) -> None:
        """Raises UserExists."""
        ...

    async def find_user(self, name: str) -> User | None: ...

    async def replace_user(self, user: User) -> None:
        """Store the user of this name anew; no error where there is none."""
        ...

    async def users(self) -> Sequence[User]:
        """All of them, by name."""
        ...

    async def disabled_users(self) -> frozenset[str]:
        """The names of those who are shut out."""
        ...


class KeyStore(Protocol):
    """Secrets that are made once and shared by every instance on the database."""

    async def keep(self, name: str, candidate: str) -> str:
        """The secret of this name: `candidate` where there was none, else the one kept before."""
        ...


class ExperienceStore(Protocol):
    """What was learned of how long tasks take, a small document for each kind of task."""

    async def experience(self) -> Mapping[Kind, Durations]:
        """All that is kept, in any order; weights are rounded to a millionth."""
        ...

    async def keep_durations(self, kind: Kind, durations: Durations) -> None:
        """In place of what was kept of this kind. May be lost with the power."""
        ...

    async def forget_durations(self, kind: Kind) -> None:
        """No error where nothing is kept of it."""
        ...


class Store(TaskStore, UserStore, KeyStore, ExperienceStore, Protocol):
    """A whole database: the four ports over one connection."""

    async def open(self) -> None:
        """Connect, make what is missing (tables, indexes), check the format. May be called again.

        Raises StoreUnavailable, and the caller tries again; NewerFormat, and it must not.
        """
        ...

    async def ping(self) -> None:
        """Raises StoreUnavailable where a read would."""
        ...

    async def close(self) -> None:
        """Let go of every connection and thread. May be called twice."""
        ...


async def conflict(store: TaskStore, task: Task) -> StoreError:
    """Why an adapter could not insert the task: its id or its key is taken. Raises StoreError."""
    if task.idempotency is None:
        return StoreError(f"task {task.id} is there already")
    taken = await store.find_by_key(task.user_id, task.idempotency.key)
    return DuplicateKey(taken) if taken else StoreUnavailable("whose key that is can't be told just now")
