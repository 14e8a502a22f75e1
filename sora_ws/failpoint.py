"""Named steps between "accepted" and "told", at which a test lets this process die, fail or stand still.

`SORA_WS_FAILPOINT=STEP:ACTION` arms one of them, for its first time. It is no setting: nobody but a test
has a use for it. Not armed, a step costs 30 ns.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final, Literal, get_args

Step = Literal[
    "task_stored",  # a new task, of which nobody has been told
    "task_handed_on",  # it may be submitted already, and the 202 has not left
    "create_marked",  # as sent, and it was not
    "create_answered",  # the job's id is in memory alone
    "job_kept",
    "outcome_unknown",  # and that is kept; the create leaves again later
    "look_answered",  # what it told is in memory alone
    "video_fetched",  # into a partial file
    "thumbnail_kept",  # without its video
    "video_kept",  # and the task is not completed
    "change_saved",  # and published to nobody
    "end_saved",
    "end_published",  # to the hub, and the sockets have nothing
    "pushes_ready",
    "pushes_sent",
    "callback_marked",  # as begun, and it was not
    "callback_taken",  # by its receiver, which is in memory alone
    "cancel_saved",  # and the provider was not told
    "leaving",  # SIGTERM came
    "store_opened",  # the next start knows its database, and has looked at no task
]
STEPS: Final[tuple[str, ...]] = get_args(Step)


class FailpointError(Exception):
    """What the action `error` raises."""


def reach(step: Step) -> None:
    """The process is at this step."""
    if step == _armed:
        _act()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _error() -> None:
    global _armed
    step, _armed = _armed, ""
    raise FailpointError(f"the failpoint {step}")


def _pause() -> None:
    """Hold the loop until a signal comes that is handled."""
    signal.pause()


ACTIONS: Final[dict[str, Callable[[], None]]] = {"kill": _kill, "error": _error, "pause": _pause}


def _read(text: str) -> tuple[str, Callable[[], None]]:
    if not text:
        return "", _error
    step, _, action = text.partition(":")
    if step not in STEPS or action not in ACTIONS:
        raise ValueError(f"SORA_WS_FAILPOINT is {text!r}: write one of {STEPS}, a colon, one of {[*ACTIONS]}")
    return step, ACTIONS[action]


_armed, _act = _read(os.environ.get("SORA_WS_FAILPOINT", ""))
