"""All pages: fresh where they are made, with links that lead somewhere, and of no machine in particular."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from sora_ws import __version__
from tests.docs.markdown import CHECKOUT, DOCS, PAGES, anchors, links, sections

by_name: Final = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

# Folders of somebody's own; what the system's standards name may be spoken of.
OWN_PLACES: Final = re.compile(
    r"(?<![\w.~$}])/(?:home|root|work|workspace|tmp|Users|mnt|private/tmp)(?:/|\b)"
)


def test_the_settings_page_is_up_to_date() -> None:
    """docs/settings.md is what the script lists today."""
    assert_fresh("list_settings.py")


def test_the_metrics_page_is_up_to_date() -> None:
    """docs/metrics.md is what the script lists today."""
    assert_fresh("list_metrics.py")


def assert_fresh(name: str) -> None:
    script = DOCS / name
    listed = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr


@by_name
def test_links_lead_somewhere(page: Path) -> None:
    """Each file and each heading that is linked to exists."""
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@by_name
def test_no_place_on_somebodys_machine(page: Path) -> None:
    """A page holds for every machine that has a checkout."""
    assert OWN_PLACES.findall(page.read_text(encoding="utf-8")) == []


@by_name
def test_files_that_are_named_exist(page: Path) -> None:
    """What is written as a path of the checkout is there."""
    named = re.findall(
        r"`((?:sora_ws|tests|docs|conf|systemd)/[\w./-]*\w)`", page.read_text(encoding="utf-8")
    )
    assert [path for path in named if not (CHECKOUT / path).exists()] == []


def test_the_changelog_has_this_version() -> None:
    """What is released is told."""
    headings = [heading for heading, _ in sections(CHECKOUT / "CHANGELOG.md")]
    assert any(re.match(rf"\[?{re.escape(__version__)}\]?\b", heading) for heading in headings)


def test_every_room_is_described() -> None:
    """The architecture page names each file and folder of the package."""
    told = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rooms = {path for path in (CHECKOUT / "sora_ws").iterdir() if path.suffix == ".py" or path.is_dir()}
    names = {path.name if path.is_file() else f"{path.name}/" for path in rooms if "__" not in path.name}
    assert [name for name in sorted(names) if f"`{name}`" not in told] == []


def test_tests_of_the_rules_exist() -> None:
    """The architecture page names a test for each rule of direct writes, and each is there."""
    table = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("| rule | held by |")[2]
    rows = table.partition("\n\n")[0].strip().splitlines()[1:]
    assert len(rows) > 10
    for row in rows:
        held_by = re.findall(r"`(test_\w+)`: ((?:\*[^*]+\*(?:, )?)+)", row)
        assert held_by, row
        for file, names in held_by:
            source = (CHECKOUT / f"tests/unit/{file}.py").read_text(encoding="utf-8")
            for name in re.findall(r"\*([^*]+)\*", names):
                assert f"def test_{name.replace(' ', '_')}(" in source, name
