"""When a call may leave for the provider: never too early, never two to see, and always at last."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from sora_ws.provider.limiter import FAILURES_MAX, PROBES, Call, Held, Kind, Limiter
from tests.backends.jobs import Dialect
from tests.unit.works import some_works

FIRST_S, CAP_S = 2.0, 30.0


class Limited(RuleBasedStateMachine):
    """Calls leave, end well, badly or never, and time passes, in any order."""

    calls = Bundle("calls")

    @initialize(chance=st.randoms(use_true_random=False))
    def begin(self, chance: Random) -> None:
        self.now = 0.0
        self.told_until = 0.0  # the latest time that an answer asked for
        self.under_way: list[Call] = []
        self.limiter = Limiter(FIRST_S, CAP_S, time=lambda: self.now, chance=chance.random)

    @rule(target=calls, kind=st.sampled_from(Kind))
    def leave(self, kind: Kind) -> object:
        """A call leaves only where nothing was asked for, and one alone where the breaker is open."""
        may_look, is_open = self.limiter.lets_look, self.limiter.is_open
        call = self._enter(kind)
        if call is None:
            assert not (kind is Kind.LOOK and may_look)
            return None
        assert self.now >= self.told_until
        assert may_look
        if is_open:
            assert kind in PROBES
            assert not any(other.era == call.era for other in self.under_way)
        self.under_way.append(call)
        return call

    def _enter(self, kind: Kind) -> Call | None:
        try:
            return self.limiter.enter(kind)
        except Held:
            return None

    @rule(call=consumes(calls), outcome=st.sampled_from(["answered", "failed", "broken off"]))
    def end(self, call: Call | None, outcome: str) -> None:
        self._end(call, outcome, None)

    @rule(call=consumes(calls), hold_s=st.floats(0, 86_400))
    def end_with_a_wish(self, call: Call | None, hold_s: float) -> None:
        self._end(call, "failed", hold_s)

    def _end(self, call: Call | None, outcome: str, hold_s: float | None) -> None:
        if call is None:
            return
        self.under_way.remove(call)
        if outcome == "answered":
            self.limiter.answered(call)
        elif outcome == "failed":
            self.limiter.failed(call, hold_s)
        if hold_s is not None:
            self.told_until = max(self.told_until, self.now + hold_s)
        self.limiter.leave(call)

    @rule(seconds=st.floats(0.01, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def a_wait_ends(self) -> None:
        """Nothing is held for longer than was asked for, or than the longest wait of our own."""
        if hasattr(self, "limiter"):
            assert self.now + self.limiter.held_s <= max(self.told_until, self.now + CAP_S) + 1e-6

    def teardown(self) -> None:
        """Whatever was: once what was under way has ended and the time is over, one answer frees all."""
        if not hasattr(self, "limiter"):
            return
        for call in tuple(self.under_way):
            self._end(call, "broken off", None)
        self.now += self.limiter.held_s + FIRST_S
        assert self.limiter.trusts or self.limiter.wants_check
        call = self.limiter.enter(Kind.LOOK)
        self.limiter.answered(call)
        self.limiter.leave(call)
        assert self.limiter.trusts
        self.limiter.enter(Kind.CREATE)


TestLimited = Limited.TestCase


class Scene:
    """A limiter with a clock that stands still and the longest waits that chance can give."""

    def __init__(self, chance: float = 1.0) -> None:
        self.now = 0.0
        self.limiter = Limiter(FIRST_S, CAP_S, time=lambda: self.now, chance=lambda: chance)

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += self.limiter.held_s
            call = self.limiter.enter(Kind.LOOK)
            self.limiter.failed(call)
            self.limiter.leave(call)

    def answer(self) -> None:
        call = self.limiter.enter(Kind.LOOK)
        self.limiter.answered(call)
        self.limiter.leave(call)


def test_some_failures_open_it() -> None:
    """Fewer hold back no look, only creates; one good answer, and they are forgotten."""
    scene = Scene()
    scene.fail(FAILURES_MAX - 1)
    assert scene.limiter.lets_look
    assert not scene.limiter.trusts
    scene.answer()
    assert scene.limiter.trusts
    scene.fail(FAILURES_MAX)
    assert not scene.limiter.lets_look


def test_waits_double_up_to_the_cap() -> None:
    """Each probe in vain is followed by a longer wait, also where a good answer came between them."""
    scene = Scene()
    scene.fail(FAILURES_MAX)
    waits = [scene.limiter.held_s]
    for _ in range(4):
        scene.fail()
        waits.append(scene.limiter.held_s)
    assert waits == [4, 8, 16, 30, 30]
    scene.now += scene.limiter.held_s
    scene.answer()
    scene.fail(FAILURES_MAX)
    assert scene.limiter.held_s == CAP_S
    scene.now += scene.limiter.held_s
    scene.answer()
    scene.now += CAP_S
    scene.fail(FAILURES_MAX)
    assert scene.limiter.held_s == 4


def test_waits_are_jittered_fully() -> None:
    """By chance a wait is as short as the shortest, or anything up to the longest."""
    for chance, wait in ((0.0, FIRST_S), (0.5, CAP_S / 2)):
        scene = Scene(chance)
        scene.fail(FAILURES_MAX + 6)
        assert scene.limiter.held_s == wait


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in PROBES])
def test_nothing_that_changes_something_is_a_probe(kind: Kind) -> None:
    """An open breaker lets a look or a check out to see, and no create."""
    scene = Scene()
    scene.fail(FAILURES_MAX)
    scene.now += scene.limiter.held_s
    with pytest.raises(Held):
        scene.limiter.enter(kind)
    assert scene.limiter.lets_one
    assert scene.limiter.enter(Kind.CHECK).is_probe
    assert not scene.limiter.lets_look


def test_late_failures_do_not_open_it_further() -> None:
    """What was under way when it opened says nothing new, but its wish for time is kept."""
    scene = Scene()
    late = [scene.limiter.enter(Kind.LOOK) for _ in range(60)]
    scene.fail(FAILURES_MAX)
    for call in late:
        scene.limiter.failed(call)
    assert scene.limiter.held_s == 4
    scene.limiter.failed(late[0], hold_s=100)
    assert scene.limiter.held_s == 100
    scene.fail()
    assert scene.limiter.held_s == 8


def test_a_later_wish_for_less_shortens_nothing() -> None:
    """Of two that were under way, the longer time counts."""
    scene = Scene()
    calls = [scene.limiter.enter(Kind.LOOK) for _ in range(2)]
    scene.limiter.failed(calls[0], hold_s=100)
    scene.limiter.failed(calls[1], hold_s=1)
    assert scene.limiter.held_s == 100
    scene.limiter.hold(1)  # as another instance was told
    assert scene.limiter.held_s == 100
    scene.limiter.hold(200)
    assert scene.limiter.held_s == 200


def test_a_late_wish_opens_it_again() -> None:
    """It left before the breaker opened and closed; behind the time that it asks for, one goes to see."""
    scene = Scene()
    late = scene.limiter.enter(Kind.LOOK)
    scene.fail(FAILURES_MAX)
    scene.now += scene.limiter.held_s
    scene.answer()
    scene.limiter.failed(late, hold_s=100)
    scene.now += 100
    assert scene.limiter.lets_one


def test_checks_leave_one_by_one() -> None:
    """Also where it is closed, and only creates wait for a good word."""
    scene = Scene()
    scene.fail()
    scene.now += FIRST_S
    assert scene.limiter.wants_check
    check = scene.limiter.enter(Kind.CHECK)
    assert not scene.limiter.wants_check
    scene.limiter.leave(check)
    assert scene.limiter.wants_check


@pytest.mark.gen_test(timeout=30)
async def test_a_refused_key_is_told_amid_other_trouble(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, and not a minute behind the word of an outage."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.accepted()
        for trouble in ((502, ""), (502, ""), (401, "")):
            w.provider.jobs.dialect.trouble = trouble
            task = await w.step(task)
        told = [record.levelname for record in caplog.records if record.name == "sora_ws.provider.limiter"]
        assert told == ["WARNING", "ERROR"]
        assert w.limited.needs_operator


@pytest.mark.gen_test(timeout=30)
async def test_a_429_that_names_no_time_holds_all(tmp_path: Path) -> None:
    """Nothing leaves for a while, and then one look to see."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.accepted()
        w.provider.jobs.dialect.trouble = (429, "")
        await w.step(task)
        assert w.limited.limiter.is_open
        assert w.limited.limiter.held_s > 0
