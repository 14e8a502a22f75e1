"""Who is there, who has left, and who is missing."""

from __future__ import annotations

from sora_ws.push.roll_call import GONE, MISSED, RollCall


def beat(roll: RollCall, times: int) -> None:
    for _ in range(times):
        roll.beat()


def test_who_falls_silent_is_missing() -> None:
    """Until it is heard again; nobody is missing who was never there."""
    roll = RollCall()
    beat(roll, MISSED)
    assert roll.is_complete
    roll.here(b"1", "a")
    beat(roll, MISSED - 1)
    assert roll.is_complete
    roll.beat()
    assert not roll.is_complete
    roll.here(b"1", "a")
    assert roll.is_complete


def test_who_says_goodbye_is_not_missed() -> None:
    """It owes nothing; one that nobody knew may say it too."""
    roll = RollCall()
    roll.here(b"1", "a")
    roll.goodbye(b"1")
    roll.goodbye(b"2")
    beat(roll, MISSED)
    assert roll.is_complete


def test_a_place_that_is_taken_anew_tells_of_a_death() -> None:
    """At once, and the one before is missed no longer."""
    roll = RollCall()
    assert not roll.here(b"1", "a")
    assert not roll.here(b"2", "b")
    beat(roll, MISSED)
    assert roll.here(b"3", "a")
    roll.here(b"2", "b")
    assert roll.is_complete
    assert not roll.here(b"3", "a")


def test_who_could_not_be_heard_is_not_missing() -> None:
    """Silence counts from when there was something to hear."""
    roll = RollCall()
    roll.here(b"1", "a")
    beat(roll, MISSED)
    roll.begin_anew()
    assert roll.is_complete


def test_nobody_is_missed_for_ever() -> None:
    """A machine that was taken away does not come back; one that is at work may."""
    roll = RollCall()
    roll.here(b"1", "a")
    beat(roll, GONE)
    roll.expect(frozenset())
    assert not roll.is_complete
    roll.beat()
    roll.expect({"a"})
    assert not roll.is_complete
    roll.expect(frozenset())
    assert roll.is_complete


def test_who_was_never_heard_is_missed() -> None:
    """It is at work, and has some beats to say so."""
    roll = RollCall()
    roll.here(b"1", "a")
    roll.expect({"a", "b"})
    for _ in range(MISSED):
        assert roll.is_complete
        roll.here(b"1", "a")
        roll.beat()
    assert not roll.is_complete
    roll.here(b"2", "b")
    assert roll.is_complete
