"""How turns are taken, ratios are made, and figures are set side by side."""

from __future__ import annotations

import json

from bench.results import Measured, json_lines, table
from bench.rounds import Rounds, quantile

WHO = ("limit", "node", "fast", "tornado")


def a_row() -> Measured:
    rounds = Rounds(WHO, 2, absent={"tornado": "no heartbeat"})
    for name, values in {"limit": (2, 4), "node": (9, 8), "fast": (3, 4)}.items():
        for value in values:
            rounds.add(name, "CPU a push", "µs", value)
    rounds.compare("CPU a push", ("fast", "stream"), more_is_better=False)
    return Measured("fanout", "0.75 × limit", rounds, others=0.25)


def test_another_one_is_first_in_every_round() -> None:
    """Each has its turn once a round, and who is absent has none."""
    rounds = Rounds(
        ("limit", "node", "tornado"), 2, absent={"tornado": "no heartbeat", "fast": "not asked for"}
    )
    assert list(rounds.turns()) == ["limit", "node", "node", "limit"]


def test_a_ratio_is_one_of_a_round() -> None:
    """It is the median of the rounds' ratios, not the ratio of the medians."""
    values = {(f.contender, f.what): f.values for f in a_row().rounds.figures}
    assert values["fast", "CPU a push: times as good as limit"] == [2 / 3, 1]
    assert values["fast", "CPU a push: times as good as node"] == [3, 2]
    assert ("stream", "CPU a push: times as good as node") not in values


def test_the_table_has_the_contenders_side_by_side() -> None:
    """A cell is median and spread, or a word where there is none."""
    lines = table([a_row()], WHO).splitlines()
    assert lines[0] == "| row | what | limit | node | fast | tornado |"
    assert lines[2] == "| **fanout** | goal: 0.75 × limit; 25% of the cores went to others | | | | |"
    assert lines[3] == "| | CPU a push, µs | 3 (2 – 4) | 8.5 (8 – 9) | 3.5 (3 – 4) | no heartbeat |"


def test_each_figure_is_a_line_of_json() -> None:
    """With the value of every round; who is absent says why."""
    lines = [json.loads(line) for line in json_lines(a_row())]
    assert {"row": "fanout", "contender": "tornado", "absent": "no heartbeat"} in lines
    assert lines[0]["values"] == [2, 4]
    assert lines[0]["median"] == 3


def test_a_quantile_is_a_value_that_was_measured() -> None:
    """The smallest that the share does not exceed."""
    assert [quantile([4, 1, 3, 2], q) for q in (0.0, 0.5, 0.75, 0.99)] == [1, 2, 3, 4]
