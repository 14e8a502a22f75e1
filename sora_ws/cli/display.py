"""How a task looks on a terminal: a bar that moves, or a line for each change; a list of many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from sora_ws.cli.output import one_line, print_json
from sora_ws.client.answers import Task
from sora_ws.client.watch import Push

Show = Callable[[Push], None]


@contextmanager
def display(*, as_json: bool) -> Iterator[Show]:
    """Shows each push: as JSON on stdout, as a bar on a terminal, else as a line on stderr."""
    console = Console(stderr=True)
    if as_json:
        yield lambda push: print_json(push.document)
    elif console.is_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield _show_line


@contextmanager
def _bar(console: Console) -> Iterator[Show]:
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=100)

        def show(push: Push) -> None:
            progress.update(bar, description=state_in_words(push.task))
            if push.task.error is None:
                progress.update(bar, completed=push.task.progress)

        yield show


def _show_line(push: Push) -> None:
    if push.task.error is None:
        print(f"{push.task.progress:3d}% {state_in_words(push.task)}".rstrip(), file=sys.stderr, flush=True)


def state_in_words(task: Task) -> str:
    """The server's sentence about the task, and how long it may still take."""
    said = one_line(task.error.message if task.error else task.message)
    left = task.estimated_time_remaining
    return said if left is None else f"{said} ({left} s)"


def task_lines(tasks: Sequence[Task], width: int | None) -> Iterator[str]:
    """A line for each task: id, status, progress, time and prompt, cut at `width` cells."""
    for task in tasks:
        created = datetime.fromtimestamp(task.created_at / 1000)
        line = (
            f"{one_line(task.video_id)}  {task.status:<10}  {task.progress:3d}%  "
            f"{created:%Y-%m-%d %H:%M}  {one_line(task.prompt)}"
        )
        yield line if width is None or cell_len(line) <= width else set_cell_size(line, width).rstrip()
