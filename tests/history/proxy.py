"""A TCP proxy that lets every answer wait, or nothing through: what is slow, or was cut off."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Final

CHUNK: Final = 65_536
GUARD_S: Final = 20.0


class SlowProxy:
    """Hands connections to `host` on to a port of this machine; what comes back is `delay_s` late.

    Cut, it keeps all that is said to itself, and nobody is told that it does.
    """

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.delay_s = 0.0
        self.port = 0
        self._target = target
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._is_whole = asyncio.Event()
        self._is_whole.set()

    def cut(self) -> None:
        """Nothing gets through any more, on either way."""
        self._loop.call_soon_threadsafe(self._is_whole.clear)

    def mend(self) -> None:
        """What was held back goes on."""
        self._loop.call_soon_threadsafe(self._is_whole.set)

    def __enter__(self) -> SlowProxy:
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._hand_on, self._host, 0), self._loop
        ).result(GUARD_S)
        self.port = listening.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GUARD_S)

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # nobody there
            writer.close()
            return
        await asyncio.gather(
            self._pass_on(reader, back_writer), self._pass_on(back_reader, writer, late=True)
        )

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool = False
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if late:
                    await asyncio.sleep(self.delay_s)
                await self._is_whole.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()
