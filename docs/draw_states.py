"""Draws the states of a task from the table that the code runs by.

python docs/draw_states.py            # write docs/states.md
python docs/draw_states.py --check    # exit 1 where it is stale
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from sora_ws.task import LIVE, STATUS, TRANSITIONS, State

PAGE: Final = Path(__file__).with_name("states.md")

HEAD: Final = """\
# The states of a task

Made from `TRANSITIONS` in [`sora_ws/task.py`](../sora_ws/task.py) by `docs/draw_states.py`; a test
says when it is stale. Whatever stands in no arrow here can't happen: for a look at the provider it
tells nothing new, for a call it is an error that names state and event.

"""


def diagram() -> str:
    """The table as a Mermaid state diagram; what leads nowhere else is left out."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.SUBMITTING}"]
    lines += [
        f"    {state} --> {after}: {event}"
        for (state, event), after in TRANSITIONS.items()
        if state is not after
    ]
    lines += [f"    {state} --> [*]" for state in State if state not in LIVE]
    return "\n".join([*lines, "```"])


def table() -> str:
    """What clients see of each state."""
    rows = [f"| `{state}` | `{STATUS[state]}` | {'yes' if state in LIVE else 'no'} |" for state in State]
    return "\n".join(["| state | status that clients see | may still change |", "| --- | --- | --- |", *rows])


def page() -> str:
    return f"{HEAD}{diagram()}\n\n{table()}\n"


def main() -> int:
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} is stale: run python docs/draw_states.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
