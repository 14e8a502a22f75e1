"""A provider of the world: jobs that take their time, and answers that don't always tell it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sora_ws.provider import (
    Job,
    ListedJob,
    Listing,
    Missing,
    NoContent,
    NoList,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from sora_ws.task import Event, Failure, FailureCode, Observation, Order
from tests.simworld.weather import STORMY_S, Weather

if TYPE_CHECKING:
    from tests.simworld.world import World

PHASES: Final = ("well", "errors", "limit", "silence", "forgetful", "key")
CALL_DEADLINE_S: Final = 10.0
REFUSAL: Final = Failure(FailureCode.PROVIDER_REJECTED, "not this one", retryable=False)
BROKEN: Final = Failure(FailureCode.GENERATION_FAILED, "the model is overloaded", retryable=True)


@dataclass(slots=True)
class _Job:
    prompt: str
    made_at: float
    starts_at: float
    ends_at: float
    video_at: float
    fails: bool
    is_over: bool = False
    is_stopped: bool = False


class SimProvider:
    """`VideoProvider` over what happens in the world, which is told when a job begins and when it is over.

    Whether it lists its jobs is a matter of the world. Behind the storm nothing is tried by a long wait,
    and jobs end soon.
    """

    def __init__(self, world: World, chance: random.Random, weather: Weather, *, lists: bool) -> None:
        self._world = world
        self._chance = chance
        self._weather = weather
        self._time = world.loop.time
        self._lists = lists
        self._jobs: dict[str, _Job] = {}

    async def create(self, order: Order, reference: bytes | None) -> Job:
        weather = await self._travel()
        self._refuse(weather)
        if self._chance.random() < 0.03:
            raise Refused(REFUSAL)
        arrives = weather != "silence" or self._chance.random() < 0.5
        job_id = self._make(order.prompt) if arrives else ""
        if weather == "silence":
            await asyncio.sleep(CALL_DEADLINE_S)
            raise OutcomeUnknown("no answer")
        await self._travel()
        return Job(job_id, Observation(Event.ACCEPTED))

    async def recent(self, age: int) -> Listing:
        weather = await self._travel()
        self._refuse(weather)
        if not self._lists:
            raise NoList("404")
        jobs = [
            ListedJob(Job(job_id, self._state(job)), prompt=job.prompt, created_at=int(job.made_at) * 1000)
            for job_id, job in self._jobs.items()
            if not job.is_stopped
        ]
        await self._travel()
        return Listing(tuple(jobs), is_whole=True, now=int(time.time() * 1000))

    async def look(self, job_id: str) -> Observation:
        weather = await self._travel()
        self._refuse(weather)
        if weather == "silence":
            await asyncio.sleep(CALL_DEADLINE_S)
            raise Unavailable("no answer")
        job = self._jobs.get(job_id)
        if job is None or job.is_stopped or (weather == "forgetful" and self._chance.random() < 0.5):
            raise Missing("no such job")
        seen = self._state(job)
        await self._travel()
        return seen

    async def download(self, job_id: str, urls: Sequence[str], target: Path, max_bytes: int) -> None:
        weather = await self._travel()
        self._refuse(weather)
        job = self._jobs[job_id]
        if weather == "silence":
            await asyncio.sleep(CALL_DEADLINE_S)
            raise Unavailable("no answer")
        if self._time() < job.video_at:
            raise NoContent("not yet")
        await self._travel()
        target.write_bytes(b"a video of " + job_id.encode())  # noqa: ASYNC240 -- a memory disk

    async def delete(self, job_id: str) -> bool:
        weather = await self._travel()
        self._refuse(weather)
        if job_id in self._jobs:
            self._jobs[job_id].is_stopped = True
            self._end(job_id)
        return True

    async def check(self) -> None:
        self._refuse(await self._travel())

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _travel(self) -> str:
        """There, or back again; the weather at the other end."""
        await asyncio.sleep(self._chance.uniform(0.005, 0.3))
        return self._weather.now

    def _refuse(self, weather: str) -> None:
        if weather == "errors" and self._chance.random() < 0.7:
            raise Unavailable("500 Internal Server Error")
        if weather == "limit" and self._chance.random() < 0.7:
            raise Unavailable("429", retry_after_s=self._chance.uniform(0, 8), holds_all=True)
        if weather == "key":
            raise Unavailable("401", is_configuration=True)

    def _make(self, prompt: str) -> str:
        job_id = f"job_{len(self._jobs)}"
        now = self._time()
        starts_at = now + self._chance.expovariate(1 / 2)
        ends_at = starts_at + self._chance.lognormvariate(2, 0.7)
        if ends_at > STORMY_S:
            ends_at = max(starts_at, STORMY_S) + self._chance.uniform(0.1, 2)
        video_at = ends_at + (self._chance.uniform(0, 6) if self._chance.random() < 0.2 else 0)
        self._jobs[job_id] = _Job(
            prompt, time.time(), starts_at, ends_at, video_at, fails=self._chance.random() < 0.1
        )
        self._world.note("job", prompt=prompt, job=job_id)
        self._world.later(ends_at - now, self._end, job_id)
        return job_id

    def _end(self, job_id: str) -> None:
        job = self._jobs[job_id]
        if not job.is_over:
            job.is_over = True
            self._world.note("job_over", job=job_id)

    def _state(self, job: _Job) -> Observation:
        now = self._time()
        if now < job.starts_at:
            return Observation(Event.ACCEPTED)
        if now < job.ends_at:
            share = (now - job.starts_at) / (job.ends_at - job.starts_at)
            noise: Any = self._chance.choice([0, 0, -20, None])
            return Observation(
                Event.STARTED, progress=None if noise is None else max(0, int(share * 100) + noise)
            )
        return Observation(Event.FAILED, failure=BROKEN) if job.fails else Observation(Event.FINISHED)
