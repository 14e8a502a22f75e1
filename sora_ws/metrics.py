"""What `/metrics` tells, by prometheus-client: every figure is defined here, and nowhere else.

`FIGURES` is the list that `docs/metrics.md` is made from. What happens often is counted where it
happens; what a part knows anyway is read from it when somebody asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sora_ws.store import Store, StoreError

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LAG_EVERY_S: Final = 0.1
LAG_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STORE_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric by its name in the text format; what one of its values is, and the labels it has."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    labels: tuple[str, ...] = ()


PROVIDER_CALLS: Final = Figure(
    "sora_ws_provider_calls_total",
    "counter",
    "Calls to the provider, by what became of them; a `held` one did not leave",
    ("call", "outcome"),
)
BREAKER_OPEN: Final = Figure(
    "sora_ws_provider_breaker_open", "gauge", "1 while at most one call leaves to see whether it answers"
)
HELD: Final = Figure("sora_ws_provider_held_seconds", "gauge", "How long no call at all will leave")
NEEDS_OPERATOR: Final = Figure(
    "sora_ws_provider_needs_operator", "gauge", "1 while it refuses the key, the account or the address"
)
TASKS: Final = Figure(
    "sora_ws_tasks_live",
    "gauge",
    "Tasks that have not ended, of all instances; `submitting` is the queue",
    ("state",),
)
WAITING: Final = Figure(
    "sora_ws_tasks_waiting", "gauge", "Tasks in line for a place at the provider (SORA_MAX_IN_FLIGHT)"
)
POSSIBLE_DOUBLES: Final = Figure(
    "sora_ws_possible_doubles_total",
    "counter",
    "Creates sent again though a job may have come of the one before",
)
STORE_SECONDS: Final = Figure(
    "sora_ws_store_call_seconds",
    "histogram",
    "How long calls of the database took, also failed ones",
    ("call",),
)
STORE_FAILURES: Final = Figure(
    "sora_ws_store_failures_total", "counter", "Calls of the database that failed, by the error", ("error",)
)
STORE_UP: Final = Figure("sora_ws_store_up", "gauge", "1 where the database answered this very request")
CALLBACKS: Final = Figure(
    "sora_ws_callbacks_total", "counter", "Attempts to tell an end, by what became of them", ("outcome",)
)
CALLBACKS_UNDER_WAY: Final = Figure("sora_ws_callbacks_under_way", "gauge", "Those that wait for an answer")
WEBHOOKS: Final = Figure(
    "sora_ws_webhooks_total", "counter", "Messages to /webhooks/sora, by what became of them", ("outcome",)
)
CONNECTIONS: Final = Figure("sora_ws_connections", "gauge", "Open WebSocket connections")
AUTHENTICATED: Final = Figure("sora_ws_connections_authenticated", "gauge", "Those that said who they are")
SLOW: Final = Figure("sora_ws_connections_stalled", "gauge", "Those whose socket takes nothing just now")
SUBSCRIPTIONS: Final = Figure("sora_ws_subscriptions", "gauge", "Subscriptions of all connections")
MESSAGES: Final = Figure("sora_ws_messages_sent_total", "counter", "Messages to clients, pushes and answers")
CONFLATED: Final = Figure(
    "sora_ws_pushes_conflated_total",
    "counter",
    "Pushes that a newer one replaced while their socket was full",
)
CLOSED: Final = Figure(
    "sora_ws_connections_closed_total", "counter", "Connections that ended, by close code", ("code",)
)
REDIS_UP: Final = Figure(
    "sora_ws_redis_up",
    "gauge",
    "1 where every node of Redis that is needed has an open line; absent without REDIS_URL",
)
RELAYED_OUT: Final = Figure(
    "sora_ws_relayed_out_total", "counter", "Messages to other instances that Redis took"
)
RELAYED_IN: Final = Figure(
    "sora_ws_relayed_in_total", "counter", "States of other instances that were news here"
)
RELAY_DROPPED: Final = Figure(
    "sora_ws_relay_dropped_total",
    "counter",
    "Messages to other instances that were given up: Redis was away for too many, or refused them",
)
RELAY_READ: Final = Figure(
    "sora_ws_relay_read_total", "counter", "States read from the database, as Redis may not have told them"
)
LOOP_LAG: Final = Figure(
    "sora_ws_loop_lag_seconds", "histogram", "How much too late the loop wakes up, ten times a second"
)

FIGURES: Final = (
    PROVIDER_CALLS,
    BREAKER_OPEN,
    HELD,
    NEEDS_OPERATOR,
    TASKS,
    WAITING,
    POSSIBLE_DOUBLES,
    STORE_SECONDS,
    STORE_FAILURES,
    STORE_UP,
    CALLBACKS,
    CALLBACKS_UNDER_WAY,
    WEBHOOKS,
    CONNECTIONS,
    AUTHENTICATED,
    SLOW,
    SUBSCRIPTIONS,
    MESSAGES,
    CONFLATED,
    CLOSED,
    REDIS_UP,
    RELAYED_OUT,
    RELAYED_IN,
    RELAY_DROPPED,
    RELAY_READ,
    LOOP_LAG,
)

# The calls that everything else waits for.
TIMED: Final = ("insert", "save", "reschedule", "find", "list", "live", "due", "delete", "ping")

Read = Callable[[], float | Mapping[str, float]]
"""The figure's value, or with one label a value for each of its values."""

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each of them, which nobody reads


class Metrics:
    """The figures of one server. `tell` has to be given what is read from others."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._readings = _Readings()
        self._registry.register(self._readings)
        ProcessCollector(registry=self._registry)
        self._provider_calls = self.counter(PROVIDER_CALLS)
        self._calls: dict[tuple[str, str], Counter] = {}  # `labels` takes a lock, and most of a count's time
        self._store_seconds = self.histogram(STORE_SECONDS, STORE_BUCKETS_S)
        self._store_failures = self.counter(STORE_FAILURES)
        self._lag = _LoopLag(self.histogram(LOOP_LAG, LAG_BUCKETS_S))

    def counter(self, figure: Figure) -> Counter:
        """What counts the figure."""
        return Counter(figure.name, figure.about, figure.labels, registry=self._registry)

    def histogram(self, figure: Figure, buckets: tuple[float, ...]) -> Histogram:
        """What observes the figure; `buckets` in its unit."""
        return Histogram(figure.name, figure.about, figure.labels, registry=self._registry, buckets=buckets)

    def tell(self, figure: Figure, read: Read) -> None:
        """Read the figure from `read` whenever somebody asks."""
        self._readings.reads[figure] = read

    def count_call(self, call: str, outcome: str) -> None:
        """A call to the provider is over."""
        counter = self._calls.get((call, outcome))
        if counter is None:
            counter = self._calls[call, outcome] = self._provider_calls.labels(call, outcome)
        counter.inc()

    def time_store(self, store: Store) -> None:
        """Measure the store's calls from now on."""
        for name in TIMED:
            setattr(store, name, self._timed(getattr(store, name), self._store_seconds.labels(name)))

    def start(self) -> None:
        """Begin to measure the loop."""
        self._lag.start()

    def stop(self) -> None:
        self._lag.stop()

    async def page(self, store: Store) -> bytes:
        """All figures in Prometheus' text format; without the tasks where the store is away."""
        try:
            counts = await store.count_by_state()
            tasks: Mapping[str, float] = {state.value: count for state, count in counts.items()}
            is_up = 1
        except StoreError:
            tasks, is_up = {}, 0
        self.tell(TASKS, lambda: tasks)
        self.tell(STORE_UP, lambda: is_up)
        return generate_latest(self._registry)

    def _timed(
        self, call: Callable[..., Awaitable[Any]], seconds: Histogram
    ) -> Callable[..., Awaitable[Any]]:
        async def timed(*args: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return await call(*args, **named)
            except StoreError as error:
                self._store_failures.labels(type(error).__name__).inc()
                raise
            finally:
                seconds.observe(time.perf_counter() - began)

        return timed


class _Readings(Collector):
    """Asks the parts for what they know."""

    def __init__(self) -> None:
        self.reads: dict[Figure, Read] = {}

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for figure, read in self.reads.items():
            family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
            told = family(figure.name, figure.about, labels=figure.labels)
            value = read()
            for label, number in value.items() if isinstance(value, Mapping) else [("", value)]:
                told.add_metric([label] if figure.labels else [], number)
            yield told


class _LoopLag:
    """Wakes up at a beat, and observes how late."""

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(loop.time() + LAG_EVERY_S, self._wake, loop, loop.time() + LAG_EVERY_S)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._seconds.observe(max(0.0, loop.time() - due))
        self.start()
