"""Judges a whole history: whether all that was promised was kept, whatever died meanwhile."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

from tests.history.journal import Event

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
    PLACES = "no more live tasks than there are places, and counted doubles, have a job at the provider"


class Violation(NamedTuple):
    """A rule that was broken, and by what."""

    rule: Rule
    text: str


class State(NamedTuple):
    """What was shown of a task, by a push or by REST. `end` is None while it lives."""

    seq: int
    end: str | None
    progress: int
    step: int

    @classmethod
    def of(cls, kind: str, shown: Event) -> State:
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

    def __init__(self, places: float, epoch: float) -> None:
        self._places, self._epoch = places, epoch
        self._found: list[Violation] = []
        self._lines: dict[str, Line] = {}
        self._asked: dict[str, tuple[Any, ...]] = {}  # by prompt: when, by whom, whether with a callback
        self._prompts: dict[str, str] = {}  # by task
        self._accepted: set[str] = set()
        self._states: defaultdict[str, dict[int, State]] = defaultdict(dict)
        self._ended_at: dict[str, float] = {}
        self._jobs: dict[str, tuple[str, float, float]] = {}  # the prompt, from when until when
        self._doubles: Counter[str] = Counter()
        self._called: defaultdict[str, set[str]] = defaultdict(set)  # the ends that were told, by prompt

    def take(self, event: Event) -> None:
        match event["what"]:
            case "asked":
                self._asked.setdefault(event["prompt"], (event["at"], event["user"], event.get("callback")))
            case "answered" if event["status"] == 202:
                self._accepted.add(event["videoId"])
                self._prompts[event["videoId"]] = event["prompt"]
            case "found":
                task = event["task"]
                self._prompts[task["videoId"]] = task["prompt"]
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
                self._jobs[event["job"]] = event["prompt"], event["at"] + self._epoch, math.inf
            case "job_over":
                self._jobs[event["job"]] = (*self._jobs[event["job"]][:2], event["at"] + self._epoch)
            case "called_back":
                self._called[event["prompt"]].add(ENDS[event["type"]])
            case "doubled":
                self._doubles[event["videoId"]] += 1

    def verdict(self) -> list[Violation]:
        return [*self._found, *self._ends(), *self._told(), *self._counts(), *self._crowds()]

    def _hear(self, line: Line, kind: str, payload: Event, at: float) -> None:
        match kind:
            case "subscribeSuccess" if "room" in payload:
                line.in_room_since = min(at, line.in_room_since)
                line.known.clear()  # the states behind it win over what is held
            case "subscribeSuccess":
                line.owed.add(payload["videoId"])
                line.known.pop(payload["videoId"], None)
            case "taskProgress" | "taskCompleted" | "taskFailed":
                self._push(line, payload["videoId"], State.of(kind, payload), at)

    def _push(self, line: Line, task: str, state: State, at: float) -> None:
        before, line.known[task] = line.known.get(task), state
        if before and (before.end or not state.may_follow(before)):
            rule = Rule.SILENCE if before.end else Rule.RISES
            self._found.append(Violation(rule, f"{line.user} heard {state} of {task} after {before}"))
        if task not in line.owed and at < line.in_room_since:
            self._found.append(Violation(Rule.OWN, f"{line.user} heard of {task} without a subscription"))
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
            if not ends or ends != states[-1:]:
                yield Violation(Rule.ENDS_ONCE if ends else Rule.ENDS, f"{task} came to {states[-3:]}")
            told, wanted = self._called[self._prompts[task]], self._asked[self._prompts[task]][2]
            if told != {end.end for end in ends if wanted}:
                yield Violation(Rule.CALLED, f"{task} ended as {ends}, and {told} was told")
            for before, after in pairwise(states):
                if not before.end and not after.may_follow(before):
                    yield Violation(Rule.RISES, f"{task} was {before} and then {after}")

    def _told(self) -> Iterator[Violation]:
        for name, line in self._lines.items():
            own = {t: self._asked[p][0] for t, p in self._prompts.items() if self._asked[p][1] == line.user}
            in_room = {task for task, since in own.items() if since > line.in_room_since}
            for task in (line.owed | in_room) - line.told_end:
                if self._ended_at.get(task, math.inf) < line.left_at:
                    yield Violation(Rule.TOLD, f"line {name} of {line.user} was not told the end of {task}")
            for task in (line.owed | line.told_end) - own.keys():
                yield Violation(Rule.OWN, f"{line.user} heard of {task}, which is not theirs")

    def _counts(self) -> Iterator[Violation]:
        for prompt, tasks in Counter(self._prompts.values()).items():
            if tasks > 1:
                yield Violation(Rule.ONE_TASK, f"{prompt!r} became {tasks} tasks")
        for prompt, jobs in Counter(prompt for prompt, _, _ in self._jobs.values()).items():
            allowed = sum(1 + self._doubles[task] for task, of in self._prompts.items() if of == prompt)
            if jobs > allowed:
                yield Violation(Rule.ONE_JOB, f"{prompt!r} has {jobs} jobs, and {allowed} were allowed")

    def _crowds(self) -> Iterator[Violation]:
        """A job counts until it is over, or its task, whose end is stored before its place is given on."""
        over = {self._prompts.get(task): max(self._states[task]) / 1000 for task in self._ended_at}
        jobs = [(p, begin, min(end, over.get(p, math.inf))) for p, begin, end in self._jobs.values()]
        doubles = Counter(self._prompts.get(task) for task in self._doubles.elements())
        for _, at, _ in jobs:
            busy = {prompt for prompt, begin, end in jobs if begin <= at < end}
            if len(busy) > self._places + sum(doubles[prompt] for prompt in busy):
                yield Violation(Rule.PLACES, f"{sorted(busy)} had jobs at once, at {at}")


def judge(history: Iterable[Event], places: float = math.inf, epoch: float = 0.0) -> list[Violation]:
    """Where the history breaks the rules; `epoch` is the Unix time of its 0."""
    checker = Checker(places, epoch)
    for event in sorted(history, key=lambda event: float(event["at"])):
        checker.take(event)
    return checker.verdict()
