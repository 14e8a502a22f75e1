"""What instances say to each other."""

from __future__ import annotations

import msgspec
import pytest

from sora_ws.cluster import (
    SILENT_S,
    Census,
    Due,
    Figures,
    Held,
    Hello,
    Learned,
    LineMoved,
    SignIn,
    Word,
    Words,
)
from sora_ws.push.messages import ClusterStats
from sora_ws.task import Order

FIGURES = ClusterStats(
    instances=1,
    connected_clients=2,
    authenticated_clients=3,
    subscriptions=4,
    messages_sent=5,
    messages_per_second=6.5,
    slow_consumers=7,
)
WORDS = [
    Due("video_5"),
    LineMoved(has_come=True),
    Held(2.5),
    Learned(Order("a cat", "sora-2", 8, "1280x720"), 10, 20),
    SignIn("ada", "192.0.2.7", is_done=True),
    Figures("host:3001", FIGURES),
    Hello(),
]


def test_every_word_is_tried() -> None:
    """A new one is added here, too."""
    assert {type(word) for word in WORDS} == set(Word.__subclasses__())


@pytest.mark.parametrize("word", WORDS, ids=lambda word: type(word).__name__)
def test_a_word_is_heard_as_it_was_said(word: Word) -> None:
    """By who waits for its kind, and by nobody else."""
    said: list[bytes] = []
    heard: list[Word] = []
    Words(said.append).tell(word)
    other = Words()
    other.heard(said[0])
    for kind in Word.__subclasses__():
        if kind is not type(word):
            other.on(kind, lambda _: pytest.fail("this was not said"))
    other.on(type(word), heard.append)
    other.heard(said[0])
    assert heard == [word]


def test_a_word_of_another_version_is_an_error_of_its_own() -> None:
    """So that who hears it can say so, and goes on."""
    with pytest.raises(msgspec.ValidationError):
        Words().heard(b'["Unheard",1]')


def test_all_instances_are_counted_together() -> None:
    """By what each said last; who has been silent for long is gone."""
    now = 100.0
    census = Census(lambda: now)
    for instance in ("a:1", "b:1", "b:1"):
        census.heard(Figures(instance, FIGURES))
    together = census.with_all(FIGURES)
    assert together == ClusterStats(
        **{name: 3 * value for name, value in msgspec.structs.asdict(FIGURES).items()}
    )
    now += SILENT_S + 1
    assert census.with_all(FIGURES) == FIGURES
