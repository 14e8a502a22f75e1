"""docs/scaling.md: the plan and the check are what the command makes today."""

from __future__ import annotations

from bench.capacity.__main__ import PAGE, TABLES, written


def test_the_tables_of_the_plan_are_up_to_date() -> None:
    """Else `python -m bench.capacity --write` brings them there."""
    page = PAGE.read_text(encoding="utf-8")
    assert all(
        page.count(f"<!-- {name} -->\n") == page.count(f"\n<!-- {name} ends -->\n") == 1 for name in TABLES
    )
    assert written(page) == page
