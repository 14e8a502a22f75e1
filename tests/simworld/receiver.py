"""Where ends are told to: a server of somebody's, that has its own weather."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sora_ws.delivery import ATTEMPT_S, NotDelivered
from tests.simworld.weather import Weather

if TYPE_CHECKING:
    from tests.simworld.world import World

PHASES: Final = ("well", "errors", "away", "silence")


class Receiver:
    """In the place of `Sender`, and of all that is behind it."""

    def __init__(self, world: World, chance: random.Random, weather: Weather) -> None:
        self._world = world
        self._chance = chance
        self._weather = weather

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Raises NotDelivered, also where it was delivered and nobody can know."""
        await self._travel()
        weather = self._weather.now
        if weather == "away":
            raise NotDelivered("the connection failed")
        if weather == "errors" and self._chance.random() < 0.7:
            raise NotDelivered("answered 500")
        letter = json.loads(body)
        self._world.note("called_back", prompt=letter["data"]["prompt"], type=letter["type"])
        if weather == "silence":
            await asyncio.sleep(ATTEMPT_S)
            raise NotDelivered("no answer in time")
        await self._travel()

    def close(self) -> None:
        """Nothing to let go of."""

    async def _travel(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.005, 0.3))
