"""Whose turn it is for a free place at the provider: round-robin between users. Pure.

Users stand in a circle; each has a turn for one task, the oldest that waits, and goes to the end.
So whoever comes waits for at most one task of every other user before each of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class Line:
    """How many tasks of which user wait, the next user first. Knows no tasks: those wait in the store."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        """How many tasks wait."""
        return sum(self._waiting.values())

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def count(self, user_id: str) -> int:
        """How many of the user's tasks wait."""
        return self._waiting.get(user_id, 0)

    def update(self, counts: Iterable[tuple[str, int]]) -> None:
        """Take over who waits by the store's word, given by each user's oldest task.

        Users keep their places in the circle; who is new comes last.
        """
        fresh = dict(counts)
        kept = {user: fresh.pop(user) for user in self._waiting if user in fresh}
        self._waiting = OrderedDict(kept | fresh)

    def join(self, user_id: str) -> None:
        """One more task of the user waits."""
        self._waiting[user_id] = self.count(user_id) + 1

    def leave(self, user_id: str) -> None:
        """One task of the user waits no more, and had no turn."""
        if self.count(user_id) > 1:
            self._waiting[user_id] -= 1
        else:
            self._waiting.pop(user_id, None)

    def next(self) -> str | None:
        """The user whose oldest task goes now, and who has had a turn by that; None where nobody waits."""
        if not self._waiting:
            return None
        user, count = self._waiting.popitem(last=False)
        if count > 1:
            self._waiting[user] = count - 1
        return user

    def give_back(self, user_id: str) -> None:
        """The turn that `next` gave came to nothing: it is the next one again."""
        self.join(user_id)
        self._waiting.move_to_end(user_id, last=False)

    def position(self, user_id: str, older: int) -> int | None:
        """The place of the user's task with so many `older` ones of theirs: 1 for the next one to go.

        None where the user has no such task.
        """
        if not 0 <= older < self.count(user_id):
            return None
        place, rounds = 1, older + 1  # whoever stands before the user has one turn more
        for user, count in self._waiting.items():
            if user == user_id:
                rounds = older
            place += min(count, rounds)
        return place
