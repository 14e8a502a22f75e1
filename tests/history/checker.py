"""Judges a whole history: whether all that was promised was kept, whatever died meanwhile."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

STEPS: Final = ("submitting", "queued", "rendering", "archiving")
ENDS: Final = {
    **dict.fromkeys(("taskCompleted", "COMPLETED", "video.completed"), "completed"),
    **dict.fromkeys(("taskFailed", "FAILED", "video.failed", "CANCELLED", "video.cancelled"), "failed"),
}


class Rule(StrEnum):
    """What is promised."""

    ENDS = "each accepted task ends"
    ENDS_ONCE = "a task has one end, and lives no more after it"
    RISES = "seq, step and progress of a task only rise, and one seq is one state"
    SILENCE = "a line hears nothing of a task after its end"
    TOLD = "the end reaches every subscriber, or its line is closed"
    CALLED = "an end is told to the address that asked for it, and nothing else is"
    OWN = "nobody hears of a task that isn't theirs, or that they didn't subscribe"
    ONE_TASK = "a create that is sent again is one task"
    ONE_JOB = "a task has one job at the provider, and one more for each counted possible double"


class Violation(NamedTuple):
    """A rule that was broken, and by what."""

    rule: Rule
    text: str


@dataclass(frozen=True, slots=True)
class State:
    """What was shown of a task, by a push or by REST. `end` is None while it lives."""

    seq: int
    end: str | None
    progress: int
    step: int

    @classmethod
    def of(cls, kind: str, shown: Mapping[str, Any]) -> State:
        """`kind` is the type of a push, or a status."""
        if kind in ENDS:
            return cls(shown["seq"], ENDS[kind], 100, len(STEPS))
        return cls(shown["seq"], None, shown["progress"], STEPS.index(shown["currentStep"]))

    def may_follow(self, before: State) -> bool:
        return self.seq > before.seq and self.progress >= before.progress and self.step >= before.step


@dataclass(slots=True)
class Line:
    """What one connection asked for and was told. `known` holds what came since it last subscribed."""

    user: str
    in_room_since: float = math.inf
    known: dict[str, State] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)
    told_end: set[str] = field(default_factory=set)
    left_at: float = math.inf


class Checker:
    """Takes the events of a history in the order of time; `verdict` tells what was wrong with it."""

    def __init__(self) -> None:
        self._found: list[Violation] = []
        self._lines: dict[str, Line] = {}
        self._asked: dict[str, float] = {}  # by prompt, the first time
        self._prompts: dict[str, str] = {}  # by task, as its owner
        self._owners: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._states: defaultdict[str, dict[int, State]] = defaultdict(dict)
        self._ended_at: dict[str, float] = {}
        self._jobs: Counter[str] = Counter()  # by prompt
        self._doubles: Counter[str] = Counter()
        self._callbacks: dict[str, set[str]] = {}  # the ends that were told to it, by a prompt that has one

    def take(self, event: Mapping[str, Any]) -> None:
        match event["what"]:
            case "asked":
                self._asked.setdefault(event["prompt"], event["at"])
                if event.get("callback"):
                    self._callbacks.setdefault(event["prompt"], set())
            case "answered" if event["status"] == 202:
                self._accepted.add(event["videoId"])
                self._prompts[event["videoId"]], self._owners[event["videoId"]] = (
                    event["prompt"],
                    event["user"],
                )
            case "found":
                task = event["task"]
                self._prompts[task["videoId"]], self._owners[task["videoId"]] = task["prompt"], task["userId"]
                self._see(task["videoId"], State.of(task["status"], task), event["asked_at"], event["at"])
            case "opened":
                self._lines[event["line"]] = Line(event["user"])
            case "heard":
                line, message = self._lines[event["line"]], event["message"]
                for part in message["payload"].get("updates", [message]):
                    self._hear(line, part["type"], part["payload"], event["at"])
            case "closed":
                self._lines[event["line"]].left_at = event["at"] if event["by"] == "client" else 0
            case "job":
                self._jobs[event["prompt"]] += 1
            case "called_back":
                self._callbacks[event["prompt"]].add(ENDS[event["type"]])
            case "doubled":
                self._doubles[event["videoId"]] += 1

    def verdict(self) -> list[Violation]:
        """Every violation in all that was taken."""
        return [*self._found, *self._ends(), *self._told(), *self._counts()]

    def _hear(self, line: Line, kind: str, payload: Mapping[str, Any], at: float) -> None:
        match kind:
            case "subscribeSuccess" if "room" in payload:
                line.in_room_since = min(at, line.in_room_since)
                line.known.clear()  # the states behind it win over what is held
            case "subscribeSuccess":
                line.owed.add(payload["videoId"])
                line.known.pop(payload["videoId"], None)
            case "unsubscribeSuccess":
                line.owed.discard(payload["videoId"])
            case "taskProgress" | "taskCompleted" | "taskFailed":
                self._push(line, payload["videoId"], State.of(kind, payload), at)

    def _push(self, line: Line, task: str, state: State, at: float) -> None:
        before = line.known.get(task)
        if before and before.end:
            self._found.append(Violation(Rule.SILENCE, f"{line.user} heard {state} of {task} after {before}"))
        elif before and not state.may_follow(before):
            self._found.append(Violation(Rule.RISES, f"{line.user} heard {state} of {task} after {before}"))
        if task not in line.owed and at < line.in_room_since:
            self._found.append(Violation(Rule.OWN, f"{line.user} heard of {task} without a subscription"))
        line.known[task] = state
        (line.told_end if state.end else line.owed).add(task)
        self._see(task, state, at, at)

    def _see(self, task: str, state: State, asked_at: float, at: float) -> None:
        """A state that was read after `asked_at` and was here by `at`."""
        if self._states[task].setdefault(state.seq, state) != state:
            self._found.append(Violation(Rule.RISES, f"{task} is {state}, and was {self._states[task]}"))
        if state.end:
            self._ended_at.setdefault(task, at)
        elif asked_at > self._ended_at.get(task, at) and asked_at != at:
            self._found.append(Violation(Rule.ENDS_ONCE, f"{task} was shown as {state} after its end"))

    def _ends(self) -> Iterator[Violation]:
        for task in self._accepted:
            states = [self._states[task][seq] for seq in sorted(self._states[task])]
            ends = [state for state in states if state.end]
            if not ends:
                yield Violation(Rule.ENDS, f"{task} was accepted and has not ended")
            elif ends != states[-1:]:
                yield Violation(Rule.ENDS_ONCE, f"{task} went on: {states[-3:]}")
            told = self._callbacks.get(self._prompts[task])
            if told is not None and told != {end.end for end in ends}:
                yield Violation(Rule.CALLED, f"{task} ended as {ends}, and {told} was told")
            for before, after in pairwise(states):
                if not before.end and not after.may_follow(before):
                    yield Violation(Rule.RISES, f"{task} was {before} and then {after}")

    def _told(self) -> Iterator[Violation]:
        for name, line in self._lines.items():
            own = (task for task, owner in self._owners.items() if owner == line.user)
            in_room = {task for task in own if self._asked[self._prompts[task]] > line.in_room_since}
            for task in (line.owed | in_room) - line.told_end:
                if self._ended_at.get(task, math.inf) < line.left_at:
                    yield Violation(Rule.TOLD, f"line {name} of {line.user} was not told the end of {task}")
            for task in line.owed | line.told_end:
                if self._owners.get(task) != line.user:
                    yield Violation(Rule.OWN, f"{line.user} heard of {task} of {self._owners.get(task)}")

    def _counts(self) -> Iterator[Violation]:
        for prompt, tasks in Counter(self._prompts.values()).items():
            if tasks > 1:
                yield Violation(Rule.ONE_TASK, f"{prompt!r} became {tasks} tasks")
        for prompt, jobs in self._jobs.items():
            allowed = sum(1 + self._doubles[task] for task, of in self._prompts.items() if of == prompt)
            if jobs > allowed:
                yield Violation(Rule.ONE_JOB, f"{prompt!r} has {jobs} jobs, and {allowed} were allowed")


def judge(history: Iterable[Mapping[str, Any]]) -> list[Violation]:
    """Where the history breaks the rules."""
    checker = Checker()
    for event in sorted(history, key=lambda event: float(event["at"])):
        checker.take(event)
    return checker.verdict()
