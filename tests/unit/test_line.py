"""Turns go round: nobody starves, nobody overtakes themselves, and places are told right."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from sora_ws.line import Line

USERS = st.sampled_from("abcdefgh")
COUNTS = st.dictionaries(USERS, st.integers(1, 12), max_size=8)


def line_of(counts: dict[str, int]) -> Line:
    line = Line()
    line.update(counts.items())
    return line


def drained(line: Line) -> list[str]:
    turns = []
    while (user := line.next()) is not None:
        turns.append(user)
    return turns


def test_a_single_task_does_not_wait_behind_500() -> None:
    """It goes second."""
    line = line_of({"many": 500, "one": 1})
    assert [line.next() for _ in range(3)] == ["many", "one", "many"]


@given(COUNTS, st.integers(0, 20))
def test_a_turn_that_is_given_back_is_the_next(counts: dict[str, int], turns: int) -> None:
    """As if it had not been given: the order and the places are the same."""
    line, untouched = line_of(counts), line_of(counts)
    for _ in range(turns):
        line.next(), untouched.next()
    user = line.next()
    if user is not None:
        line.give_back(user)
    places = [
        [each.position(user, older) for user in counts for older in (0, 1)] for each in (line, untouched)
    ]
    assert places[0] == places[1]
    assert Counter(drained(line)) == Counter(drained(untouched))


@given(COUNTS)
def test_each_task_has_one_turn(counts: dict[str, int]) -> None:
    """And then nobody is left."""
    line = line_of(counts)
    assert Counter(drained(line)) == Counter(counts)
    assert len(line) == 0


@given(COUNTS)
def test_turns_go_round(counts: dict[str, int]) -> None:
    """Between two turns of a user each other one has at most one: the bound on every wait."""
    turns = drained(line_of(counts))
    for user in counts:
        rest = deque(turns)
        while user in rest:
            before = [rest.popleft() for _ in range(rest.index(user))]
            rest.popleft()
            assert len(before) == len(set(before))


@given(COUNTS, st.lists(st.one_of(USERS, st.none()), max_size=60))
def test_nobody_starves_while_others_come(counts: dict[str, int], steps: list[str | None]) -> None:
    """Whoever joins meanwhile (a name) or goes (None), a user's next turn is as near as at first told."""
    line = line_of(counts | {"me": 1})
    place = line.position("me", 0)
    assert place is not None
    turns = 0
    for step in [*steps, *[None] * place]:
        if step is not None:
            line.join(step)
            continue
        turns += 1
        if line.next() == "me":
            break
    assert turns <= place


@given(COUNTS)
def test_places_are_told_right(counts: dict[str, int]) -> None:
    """The place of every task is when it goes, as long as nobody comes."""
    line = line_of(counts)
    told = {(user, n): line.position(user, n) for user in counts for n in range(counts[user])}
    seen: Counter[str] = Counter()
    for place, user in enumerate(drained(line), 1):
        assert told[user, seen[user]] == place
        seen[user] += 1


def test_who_does_not_wait_has_no_place() -> None:
    """Nor has a task that is not there."""
    line = line_of({"a": 1})
    assert (line.position("b", 0), line.position("a", 1), line.position("a", -1)) == (None, None, None)


@given(COUNTS, USERS)
def test_who_leaves_has_a_turn_less(counts: dict[str, int], user: str) -> None:
    """And nobody else."""
    line = line_of(counts)
    line.leave(user)
    assert Counter(drained(line)) == Counter(counts) - Counter([user])


@given(COUNTS, COUNTS, st.integers(0, 20))
def test_the_stores_word_is_taken_over(before: dict[str, int], after: dict[str, int], turns: int) -> None:
    """Counts are the store's; who stood in the circle stands there in the same order."""
    line = line_of(before)
    for _ in range(turns):
        line.next()
    order = [user for user in drained_order(line) if user in after]
    line.update(after.items())
    assert {user: line.count(user) for user in after} == after
    assert drained_order(line)[: len(order)] == order
    assert len(line) == sum(after.values())


def drained_order(line: Line) -> list[str]:
    """The circle from its front."""
    places = {user: line.position(user, 0) for user in "abcdefgh" if line.count(user)}
    return sorted(places, key=lambda user: places[user] or 0)
