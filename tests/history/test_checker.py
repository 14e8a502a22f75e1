"""The checker finds nothing in a good history, and each broken rule in one that breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.history.checker import Rule, judge
from tests.history.journal import Event, Journal, doubles, read


class Story:
    """A history that is told event by event; `at` is the next one's time."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._times = itertools.count(1)

    def tell(self, what: str, **facts: Any) -> Story:
        self.events.append({"at": float(next(self._times)), "what": what, **facts})
        return self

    def create(
        self, task: str = "t1", user: str = "ada", prompt: str = "p1", callback: bool = False
    ) -> Story:
        self.tell("asked", user=user, prompt=prompt, callback=callback)
        self.tell("answered", user=user, prompt=prompt, status=202, took_s=0.1, videoId=task)
        return self.tell("job", prompt=prompt, job=f"job of {task}")

    def hear(self, type_: str, line: str = "l1", **payload: Any) -> Story:
        return self.tell("heard", line=line, message={"type": type_, "payload": payload})

    def open(self, line: str = "l1", user: str = "ada", **subscribed: Any) -> Story:
        self.tell("opened", line=line, user=user)
        return self.hear("subscribeSuccess", line, subscribed=True, **subscribed or {"room": "user"})

    def progress(self, seq: int, progress: int = 0, step: str = "rendering", **more: Any) -> Story:
        of = {"videoId": "t1"} | more
        return self.hear("taskProgress", seq=seq, progress=progress, currentStep=step, **of)

    def end(self, seq: int, type_: str = "taskCompleted", **more: Any) -> Story:
        return self.hear(type_, seq=seq, **({"videoId": "t1"} | more))

    def found(self, seq: int, status: str, **more: Any) -> Story:
        task = {"videoId": "t1", "userId": "ada", "prompt": "p1", "status": status, "seq": seq}
        shown = task | {"progress": 40, "currentStep": "rendering"} | more
        return self.tell("found", user="ada", asked_at=self.events[-1]["at"] + 0.5, task=shown)


def good() -> Story:
    """A task from its create to its end, heard on a line."""
    return Story().open().create().progress(1, 0, "submitting").progress(5, 40).end(9)


def beside_a_deaf_room() -> Story:
    """A line that joined its room before the create, and heard nothing."""
    story = Story().open("l2").open().create().progress(5, 40).end(9)
    return story.tell("closed", line="l2", by="client")


def three_at_once() -> Story:
    """Three tasks with a job each, that end a minute later."""
    story = Story()
    for number in "123":
        story.create(f"t{number}", prompt=f"p{number}")
    for number in "123":
        story.found(60_000, "COMPLETED", videoId=f"t{number}", prompt=f"p{number}")
    return story


def test_a_good_history() -> None:
    """Deaths, reconnects, batches and a double that was counted break no rule."""
    story = good().found(9, "COMPLETED")
    story.tell("closed", line="l1", by="client")
    story.open("l2").create("t2", prompt="p2").progress(20, 30, videoId="t2", line="l2")
    story.tell("closed", line="l2", by="server")
    story.tell("doubled", videoId="t2").tell("job", prompt="p2", job="second")
    story.open("l3", videoId="t2").progress(20, 30, videoId="t2", line="l3")
    update = {"type": "taskFailed", "payload": {"videoId": "t2", "seq": 21}}
    story.hear("taskBatch", "l3", updates=[update])
    story.hear("subscribeSuccess", "l3", videoId="t2").end(21, "taskFailed", videoId="t2", line="l3")
    story.tell("asked", user="ada", prompt="p3").tell(
        "answered", user="ada", prompt="p3", status=503, took_s=2.0, videoId=None
    )
    story.create("t4", prompt="p4", callback=True)
    story.hear("subscribeSuccess", "l3", videoId="t4").end(40, "taskFailed", videoId="t4", line="l3")
    story.tell("called_back", prompt="p4", type="video.cancelled")
    story.tell("called_back", prompt="p4", type="video.cancelled")
    assert judge(story.events) == []


def test_a_place_is_given_on() -> None:
    """When a job is over, or its task; what a task leaves behind at the provider has no place."""
    crowd = three_at_once().events
    assert judge(crowd, places=3) == []
    over = {"at": 5.5, "what": "job_over", "job": "job of t1"}
    assert judge([*crowd, over], places=2) == []
    doubled = {"at": 0.0, "what": "doubled", "videoId": "t1"}
    assert judge([*crowd, doubled], places=2) == []
    given_up = [
        event if "task" not in event else event | {"task": event["task"] | {"seq": 4_000}} for event in crowd
    ]
    assert judge(given_up, places=1) == []


BROKEN: dict[str, tuple[Rule, Callable[[], Story]]] = {
    "a task never ends": (Rule.ENDS, lambda: Story().create().open().progress(1)),
    "a task was never heard of again": (Rule.ENDS, lambda: Story().create()),
    "two ends": (
        Rule.ENDS_ONCE,
        lambda: good().open("l2").end(10, "taskFailed", line="l2"),
    ),
    "the end is another one for REST": (Rule.ENDS_ONCE, lambda: good().found(10, "FAILED")),
    "alive after its end": (Rule.ENDS_ONCE, lambda: good().found(5, "PROCESSING")),
    "seq falls": (Rule.RISES, lambda: Story().open().create().progress(5, 40).progress(4, 50).end(9)),
    "seq stands still": (Rule.RISES, lambda: Story().open().create().progress(5).progress(5).end(9)),
    "progress falls": (Rule.RISES, lambda: Story().open().create().progress(5, 40).progress(6, 39).end(9)),
    "a step back": (
        Rule.RISES,
        lambda: Story().open().create().progress(5, 0, "rendering").progress(6, 0, "queued").end(9),
    ),
    "one seq, two states": (
        Rule.RISES,
        lambda: good().open("l2").progress(5, 41, line="l2").end(9, line="l2"),
    ),
    "progress falls from line to line": (
        Rule.RISES,
        lambda: good().open("l2").progress(6, 30, line="l2").end(9, line="l2"),
    ),
    "a push after the end": (Rule.SILENCE, lambda: good().end(9)),
    "the end is not told to who subscribed": (
        Rule.TOLD,
        lambda: (
            good().open("l2", videoId="t1").progress(5, 40, line="l2").tell("closed", line="l2", by="client")
        ),
    ),
    "the end is not told to a room": (Rule.TOLD, beside_a_deaf_room),
    "an end is not told to its callback": (
        Rule.CALLED,
        lambda: Story().create(callback=True).found(9, "FAILED"),
    ),
    "another end is told to its callback": (
        Rule.CALLED,
        lambda: (
            Story()
            .create(callback=True)
            .found(9, "FAILED")
            .tell("called_back", prompt="p1", type="video.completed")
        ),
    ),
    "a task of another user": (
        Rule.OWN,
        lambda: good().open("l2", user="bob").end(9, line="l2"),
    ),
    "a task of nobody": (Rule.OWN, lambda: good().progress(3, videoId="t0").end(4, videoId="t0")),
    "a push that nobody subscribed": (
        Rule.OWN,
        lambda: good().tell("opened", line="l2", user="ada").end(9, line="l2"),
    ),
    "a create became two tasks": (
        Rule.ONE_TASK,
        lambda: Story().create().found(9, "COMPLETED").found(9, "COMPLETED", videoId="t2"),
    ),
    "more jobs than places": (Rule.PLACES, three_at_once),
    "two jobs": (Rule.ONE_JOB, lambda: good().tell("job", prompt="p1", job="second")),
    "a job for nothing": (Rule.ONE_JOB, lambda: good().tell("job", prompt="unheard of", job="other")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_found(case: str) -> None:
    """One violation, and of this rule."""
    rule, story = BROKEN[case]
    assert {violation.rule for violation in judge(story().events, places=2)} == {rule}


def test_each_rule_is_broken_here() -> None:
    """No rule of the checker is without a history that breaks it."""
    assert {rule for rule, _ in BROKEN.values()} == set(Rule)


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Without the line that its writer died in."""
    journal = Journal(tmp_path / "journal")
    journal.write("asked", user="ada", prompt="映")
    journal.close()
    with (tmp_path / "journal").open("a") as file:
        file.write('{"at": 1.0, "wh')
    [event] = read(tmp_path / "journal")
    assert (event["what"], event["user"], event["prompt"]) == ("asked", "ada", "映")


def test_doubles_are_read_off_the_log() -> None:
    """Of a log of JSON lines, whatever else is in it."""
    log = 'Traceback\n{"message": "x"}\n{"action": "possible_double", "task": "t1", "sends": 1}\n'
    assert [event["videoId"] for event in doubles(log)] == ["t1"]
