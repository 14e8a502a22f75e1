"""The plan to a million: it holds what it promises, and the model is near what was measured."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.capacity import measure, model
from bench.capacity.__main__ import main, steps
from bench.capacity.check import Check, checks
from bench.capacity.measured import Falling
from bench.capacity.model import Limits, Load, State
from bench.tools import Missing
from tests.services import missing

LIMITS = Limits()
OFF_MAX = 0.2
PHASES = {
    "nginx": {"storm", "memory", "lines", "looks", "stored"},
    "alone": {"lines", "alone"},
    "places": {"words"},
    "pings": {"pings"},
}
LOADS = (
    Load(10_000, 1_000, 100.0, 2.0, 10.0),
    Load(100_000, 10_000, 1_000.0, 2.0, 10.0),
    Load(1_000_000, 100_000, 10_000.0, 2.0, 10.0),
    Load(50_000, 40_000, 20_000.0, 1.0, 2.0),
    Load(300_000, 10, 5.0, 300_000.0, 30.0),
)


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.what)
def test_the_model_is_near_what_was_measured(check: Check) -> None:
    """By costs that were measured elsewhere than the point."""
    assert abs(check.off) <= OFF_MAX


@pytest.mark.parametrize("load", LOADS)
def test_a_plan_holds_and_one_instance_less_does_not(load: Load) -> None:
    """Nothing that an instance has is more than full, and nobody is there for nothing."""
    state, too_full = model.plan(load, LIMITS)
    assert max(model.instance_fills(load, state, LIMITS).values()) <= 1
    if state.instances > 1:
        assert model.instance_fills(load, State(state.instances - 1), LIMITS)[too_full] > 1


@pytest.mark.parametrize("load", LOADS)
def test_a_lost_zone_is_borne(load: Load) -> None:
    """A third of them is gone, the others carry all of it, and before that there were enough too."""
    left, _ = model.plan(load, LIMITS, zone_lost=True)
    assert left.lost * LIMITS.zones >= left.instances + left.lost
    for state in (left, State(left.instances + left.lost)):
        assert max(model.instance_fills(load, state, LIMITS).values()) <= 1


def test_less_headroom_needs_fewer_instances() -> None:
    """The share of a core that may be used is asked for, not built in."""
    load = LOADS[3]
    calm, full = (model.plan(load, Limits(core=share))[0] for share in (0.3, 0.9))
    assert full.instances < calm.instances


def test_too_much_is_said_to_be_too_much() -> None:
    """Where each instance costs the others more than it brings, no number is enough."""
    with pytest.raises(ValueError, match="too few"):
        model.plan(replace(LOADS[2], lines=10**9), LIMITS)


def test_a_wall_takes_as_long_as_the_cores_do_and_a_slope_as_the_clients() -> None:
    """Who notices one after the other is back when the last has noticed, where there is room."""
    load, state = LOADS[1], State(10, lost=5)
    slope, wall = (model.until_back_s(load, state, LIMITS, over_s) for over_s in (25.0, 0.0))
    assert slope == 26.0
    assert model.FIRST_WAIT_S < wall < slope
    assert model.until_back_s(load, State(1, lost=14), LIMITS) > slope


def test_what_wakes_a_process_is_dear_where_it_does_nothing_else() -> None:
    """From both costs at an idle process down to one of them at a full one."""
    cost = Falling(busy_us=100.0, wake_us=50.0)
    assert cost.us(1.0, others_us=0.0) == pytest.approx(150.0, rel=0.001)
    assert cost.us(1.0, others_us=500_000.0) == pytest.approx(125.0, rel=0.001)
    assert cost.us(1.0, others_us=2_000_000.0) == 100.0


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the load that is named, with all zones and without one; else of the three steps."""
    monkeypatch.setattr("sys.argv", ["bench.capacity", "--lines", "20000", "--changes", "50"])
    assert main() == 0
    assert list(json.loads(capsys.readouterr().out)) == ["all zones", "a zone lost"]
    assert len(steps(LIMITS)) == 6


@pytest.mark.alone
@pytest.mark.parametrize("what", ["nginx", "alone", "places", "pings"])
def test_what_nobody_else_measures(
    what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a short form: all come in, all tasks are looked at, each phase has its figures."""
    short = ["--browsers", "40", "--interval", "2000", "--seconds", "1", "--settle", "0.5"]
    monkeypatch.setattr("sys.argv", ["bench.capacity.measure", what, *short])
    try:
        assert measure.main() == 0
    except Missing as error:
        missing(str(error))
    phases = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert phases[0]["us_per_s instances"] > 0
    assert {phase["phase"] for phase in phases} == {"empty", "tasks"} | PHASES[what]
