"""What the instances on one database say to each other, besides the states of tasks.

Words are said once: who is cut off just then never hears them. So each only hastens what the database
would tell a little later, or counts together what each would count alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct
from tornado.ioloop import PeriodicCallback

from sora_ws.claims import Claims, Role
from sora_ws.durations import Experience
from sora_ws.poller import Poller
from sora_ws.provider.limiter import LimitedVideos
from sora_ws.push.messages import ClusterStats
from sora_ws.rest.throttle import LoginThrottle
from sora_ws.store import LINE, Claimant, ClaimStore
from sora_ws.task import Order

FIGURES_EVERY_MS: Final = 2_000
NAME: Final = "cluster"
SILENT_S: Final = 7.0  # an instance that says nothing for so long is gone


class Word(Struct, frozen=True, array_like=True, tag=True):
    """Something that one says to all others."""


class Due(Word, frozen=True):
    """A task is to be looked at now, by who has claimed it."""

    task_id: str


class LineMoved(Word, frozen=True):
    """Somebody has come into line, or else left it, or a place at the provider."""

    has_come: bool


class Held(Word, frozen=True):
    """The provider asked to be left alone for so long."""

    seconds: float


class Learned(Word, frozen=True):
    """A task took longer than `after_ms` and at most `by_ms`."""

    order: Order
    after_ms: int
    by_ms: int


class SignIn(Word, frozen=True):
    """Somebody tries to sign in, or has done so."""

    name: str
    source: str
    is_done: bool


class Figures(Word, frozen=True):
    """How an instance fares, said every few seconds."""

    instance: str
    stats: ClusterStats


class Hello(Word, frozen=True):
    """A new instance: who knows what it should know says so."""


_Any = Due | LineMoved | Held | Learned | SignIn | Figures | Hello
W = TypeVar("W", bound=Word)


class Words:
    """Says words by `say`, and calls who waits for one that is heard. Alone, nobody says or hears any."""

    def __init__(self, say: Callable[[bytes], None] = lambda word: None) -> None:
        self._say = say
        self._acts: dict[type[Word], Callable[[Any], None]] = {}

    def tell(self, word: Word) -> None:
        """To all others."""
        self._say(msgspec.json.encode(word))

    def on(self, kind: type[W], act: Callable[[W], None]) -> None:
        """Call it with each such word that another says."""
        self._acts[kind] = act

    def heard(self, said: bytes) -> None:
        """Raises msgspec.ValidationError for a word of another version."""
        word = msgspec.json.decode(said, type=_Any)
        act = self._acts.get(type(word))
        if act is not None:
            act(word)


class Census:
    """How all instances fare together, by what each said last."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._others: dict[str, tuple[float, ClusterStats]] = {}

    def heard(self, word: Figures) -> None:
        """An instance said how it fares."""
        self._others[word.instance] = (self._steady(), word.stats)

    def with_all(self, mine: ClusterStats) -> ClusterStats:
        """Ours, and what we know of the others."""
        since = self._steady() - SILENT_S
        self._others = {name: known for name, known in self._others.items() if known[0] >= since}
        every = [mine, *(stats for _, stats in self._others.values())]
        sums = {name: sum(getattr(stats, name) for stats in every) for name in ClusterStats.__struct_fields__}
        return ClusterStats(**sums)


class Voice(Protocol):
    """The way to the other instances."""

    def say(self, name: str, word: bytes) -> None: ...

    def on_word(self, name: str, act: Callable[[bytes], None]) -> None: ...


class LineOfAll:
    """`admission.Others`: one line for all instances, and one of them that calls whose turn it is."""

    def __init__(self, store: ClaimStore, words: Words) -> None:
        self._words = words
        self._role = Role(store, LINE)

    async def start(self, took_over: Callable[[], None], heard: Callable[[bool], None]) -> None:
        self._words.on(LineMoved, lambda word: heard(word.has_come))
        await self._role.start(took_over)

    def stop(self) -> None:
        self._role.stop()

    def leave_it_to_us(self) -> bool:
        return self._role.is_ours()

    def tell(self, *, has_come: bool) -> None:
        self._words.tell(LineMoved(has_come))


class Cluster:
    """One instance among others: what is its part of the work, and which word goes to which part."""

    def __init__(self, claimant: Claimant, store: ClaimStore, voice: Voice) -> None:
        self._name = claimant.name
        self._words = words = Words(lambda word: voice.say(NAME, word))
        self._census = Census()
        self._mine: Callable[[], ClusterStats] | None = None
        self._figures = PeriodicCallback(self._tell_figures, FIGURES_EVERY_MS)
        self._poller: Poller | None = None
        self.claims = Claims(store, claimant.lease_ms, self.tell_due)
        self.line = LineOfAll(store, words)
        self.throttle = LoginThrottle(tell=lambda *tried: words.tell(SignIn(*tried)))
        words.on(Figures, self._census.heard)
        words.on(SignIn, self._count_sign_in)
        voice.on_word(NAME, words.heard)

    def stop(self) -> None:
        self._figures.stop()

    def tell_due(self, task_id: str) -> None:
        """A task is due ahead of its time: whoever has it looks at it, here or elsewhere."""
        if self._poller is not None:
            self._poller.heard_of(task_id)
        self._words.tell(Due(task_id))

    def join(self, poller: Poller, provider: LimitedVideos, experience: Experience) -> None:
        """Tell the others what these know, and these what the others tell."""
        words, self._poller = self._words, poller

        def tell_held(_: Hello) -> None:
            if held_s := provider.limiter.held_s:
                words.tell(Held(held_s))

        words.on(Due, lambda word: poller.heard_of(word.task_id))
        words.on(Held, lambda word: provider.limiter.hold(word.seconds))
        words.on(Hello, tell_held)
        words.on(Learned, lambda word: experience.hear(word.order, word.after_ms, word.by_ms))
        provider.on_held = lambda seconds: words.tell(Held(seconds))
        experience.on_learned = lambda *learned: words.tell(Learned(*learned))
        words.tell(Hello())

    def tell_figures(self, mine: Callable[[], ClusterStats]) -> None:
        """Say how this instance fares, from now on."""
        self._mine = mine
        self._figures.start()
        self._tell_figures()

    def figures(self, mine: ClusterStats) -> ClusterStats:
        """How all instances fare."""
        return self._census.with_all(mine)

    def _tell_figures(self) -> None:
        if self._mine is not None:
            self._words.tell(Figures(self._name, self._mine()))

    def _count_sign_in(self, word: SignIn) -> None:
        count = self.throttle.done if word.is_done else self.throttle.tried
        count(word.name, word.source)
