"""The frontier as an SVG: looks a task against the median delay, on paper that may be dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bench.rhythm.replay import Seen

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 440, 64, 52, 24, 24
LOOKS_MAX, DELAY_MAX = 16.0, 22.0
COLOURS: Final = {"fixed": "#8a8f98", "doubling": "#d08700", "ours": "#2f7de1", "oracle": "#2a9d5c"}
STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #57606a }
.grid { stroke: #8a8f98; stroke-opacity: .25 }
path { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #c9d1d9 } }"""


def draw(frontiers: Mapping[str, Sequence[Seen]], used: Mapping[str, Seen]) -> str:
    """Lines for the frontiers, and a ring with its name for each rhythm as it is used."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Looks a task against the median delay of the end</title>",
        f"<style>{STYLE}</style>",
        *_axes(),
        *(_line(name, points) for name, points in frontiers.items()),
        *(part for name, seen in used.items() for part in _mark(name, seen)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(looks: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * looks / LOOKS_MAX, 1)


def _y(delay: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * delay / DELAY_MAX, 1)


def _axes() -> Iterator[str]:
    for looks in range(0, int(LOOKS_MAX) + 1, 2):
        yield f'<line class="grid" x1="{_x(looks)}" x2="{_x(looks)}" y1="{_y(0)}" y2="{TOP}"/>'
        yield f'<text x="{_x(looks)}" y="{_y(0) + 18}" text-anchor="middle">{looks}</text>'
    for delay in range(0, int(DELAY_MAX) + 1, 5):
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(delay)}" y2="{_y(delay)}"/>'
        yield f'<text x="{LEFT - 8}" y="{_y(delay) + 4}" text-anchor="end">{delay}</text>'
    yield f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 12}" text-anchor="middle">looks a task</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield (
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
        "seconds from the end to the look that sees it, median</text>"
    )


def _line(name: str, points: Sequence[Seen]) -> str:
    shown = [
        (p.looks_a_task, p.delay) for p in points if p.looks_a_task <= LOOKS_MAX and p.delay <= DELAY_MAX
    ]
    path = " L".join(f"{_x(looks)},{_y(delay)}" for looks, delay in shown)
    return f'<path d="M{path}" stroke="{COLOURS[name]}"/>'


def _mark(name: str, seen: Seen) -> Iterator[str]:
    x, y = _x(seen.looks_a_task), _y(seen.delay)
    yield f'<circle cx="{x}" cy="{y}" r="5" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
    below = name == "oracle"
    yield (
        f'<text x="{x + (-8 if below else 9)}" y="{y + (16 if below else -7)}" '
        f'text-anchor="{"end" if below else "start"}" style="fill:{COLOURS[name]}">{name}</text>'
    )
