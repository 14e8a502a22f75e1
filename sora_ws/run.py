"""One server process: its signals, what it prints, and what it tells systemd."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from sora_ws import __version__, systemd
from sora_ws.app import App
from sora_ws.auth import ADMIN
from sora_ws.listening import is_beyond_loopback
from sora_ws.loop import calm_garbage_collector, new_loop
from sora_ws.settings import Settings, WrongSetting
from sora_ws.store import NewerFormat, StoreError

log = logging.getLogger(__name__)

READY_WAIT_S: Final = 5.0


def serve(settings: Settings, warnings: Sequence[str] = ()) -> NoReturn:
    """Run a server until SIGTERM or SIGINT, and end the process."""
    for warning in warnings:
        log.warning(warning)
    status = _run(settings)
    logging.shutdown()
    sys.stdout.flush()
    # Not by the interpreter's own way, which waits for threads: one may hang in a read for as long
    # as the database does, or in a look-up of a name.
    os._exit(status)


def _run(settings: Settings) -> int:
    try:
        # Not closed: that too would wait for threads.
        return asyncio.Runner(loop_factory=new_loop).run(_serve(App(settings)))
    except (WrongSetting, NewerFormat) as error:
        print(f"sora-ws: {error}", file=sys.stderr)
        return os.EX_CONFIG  # starting again won't help
    except (OSError, StoreError) as error:  # a state folder that can't be written, a database that left again
        print(f"sora-ws: {error}", file=sys.stderr)
        return 1


async def _serve(app: App) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    stopped = asyncio.create_task(stopping.wait())
    serving = asyncio.create_task(_come_up(app))
    await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
        await stopped
    serving.cancel()
    systemd.notify("STOPPING=1")
    await app.stop()
    return 0


async def _come_up(app: App) -> None:
    """Whoever started us may go on when all is served, or when the database makes us wait."""
    await app.start()
    _say_where(app.settings)
    try:
        async with asyncio.timeout(READY_WAIT_S):
            await app.ready()
    except TimeoutError:
        systemd.notify("READY=1", "STATUS=Waiting for the database")
        await app.ready()
    calm_garbage_collector()
    _hand_out_password(app)
    systemd.notify("READY=1", "STATUS=Serving")


def _say_where(settings: Settings) -> None:
    url = settings.url
    print(f"sora-ws {__version__}")
    print(f"  page       {url}/")
    print(f"  WebSocket  {url.replace('http', 'ws', 1)}/ws", flush=True)
    if is_beyond_loopback(settings.host) and settings.public_url is None:
        log.warning("PUBLIC_URL is not set: links to videos lead to %s, which others can't reach", url)
    if settings.simulates:
        level = logging.ERROR if is_beyond_loopback(settings.host) else logging.WARNING
        log.log(level, "the built-in simulator makes the videos: set SORA_API_BASE_URL for real ones")


def _hand_out_password(app: App) -> None:
    """The first password, once: on the terminal, or under systemd in a file that only root can read."""
    password = app.first_password
    if password is None:
        return
    if "STATE_DIRECTORY" not in os.environ:
        print(f"  sign in    {ADMIN}, with this first password, shown once")
        print(f"password: {password}", flush=True)
        return
    file = app.settings.first_password_file
    file.touch(mode=0o600)
    file.write_text(f"password: {password}\n", encoding="ascii")
    log.info("the first password of %s is in %s", ADMIN, file)
