"""Frames, fragments, control frames, UTF-8 and closes: what Autobahn finds wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.autobahn.suite import FRAMES, GOOD, TRANSPORTS, Transport, verdicts

CASES: Final = 247


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_rfc_6455(transport: Transport, tmp_path: Path) -> None:
    """Sections 1 to 7 and 10: each case is OK or informational. (Compression: `make autobahn`.)"""
    said = verdicts(transport, FRAMES, tmp_path)
    assert {case: word for case, word in said.items() if word not in GOOD} == {}
    assert len(said) == CASES
