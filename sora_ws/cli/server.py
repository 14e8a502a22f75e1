"""`serve`, `simulate` and `check`: the server itself, and what it stands on."""

from __future__ import annotations

import asyncio
import os
import signal
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sora_ws import backing, logs, run
from sora_ws.bus import redis_nodes
from sora_ws.bus.redis_url import RedisUrl
from sora_ws.bus.resp import RedisRefused
from sora_ws.cli.database import become_user_of, place_of, settings_for
from sora_ws.cli.output import CommandFailed, complain, one_line, print_json
from sora_ws.provider import ProviderError
from sora_ws.provider.simulator import Simulator
from sora_ws.settings import Settings, WrongSetting
from sora_ws.store import StoreError


def serve(args: Namespace) -> NoReturn:
    """`serve`"""
    settings, warnings = Settings.load(file=args.config)
    logs.configure(settings.log_format, settings.log_level)
    run.serve(settings, warnings)


def simulate(args: Namespace) -> int:
    """`simulate`"""
    settings, _ = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    seconds = settings.sora_simulator_seconds if args.seconds is None else args.seconds
    asyncio.run(_simulate(Simulator(seconds, settings.message_language), args.port))
    return 0


async def _simulate(simulator: Simulator, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        url = await simulator.start(port)
    except OSError as error:
        raise CommandFailed(f"port {port} can't be listened on: {error.strerror}") from error
    print(f"SORA_API_BASE_URL={url}", flush=True)
    await stopped.wait()
    await simulator.stop()


@dataclass(frozen=True, slots=True)
class Finding:
    """How one part was found; `detail` says what it is, or what is wrong with it."""

    part: str
    ok: bool
    detail: str


def check(args: Namespace) -> int:
    """`check`"""
    try:
        settings, warnings = settings_for(args.config)
    except WrongSetting as error:
        _report([Finding("settings", ok=False, detail=str(error))], as_json=args.json)
        return os.EX_CONFIG
    for warning in warnings:
        complain(warning, 0)
    become_user_of(settings)
    findings = [Finding("settings", ok=True, detail="understood"), *asyncio.run(_look(settings))]
    _report(findings, as_json=args.json)
    return 0 if all(finding.ok for finding in findings) else 1


async def _look(settings: Settings) -> list[Finding]:
    found = [await _look_at_store(settings), await _look_at_provider(settings)]
    if settings.redis_url is not None:
        found.append(await _look_at_redis(settings.redis_url))
    return found


async def _look_at_store(settings: Settings) -> Finding:
    place = place_of(settings)
    if settings.sqlite_path is not None and not settings.sqlite_path.exists():
        return _look_at_place(settings.sqlite_path)
    store = backing.make_store(settings)
    try:
        await store.open()
        await store.ping()
    except StoreError as error:
        return Finding("store", ok=False, detail=f"{place}: {error}")
    finally:
        await store.close()
    return Finding("store", ok=True, detail=place)


def _look_at_place(path: Path) -> Finding:
    """Whether a database file that isn't there yet could be made."""
    folder = next(parent for parent in path.parents if parent.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return Finding("store", ok=True, detail=f"{path}, made at the first start")
    return Finding("store", ok=False, detail=f"{path} can't be made: {folder} can't be written to")


async def _look_at_provider(settings: Settings) -> Finding:
    if settings.sora_api_base_url is None:
        return Finding("provider", ok=True, detail="the built-in simulator, as SORA_API_BASE_URL is not set")
    provider = backing.make_provider(settings)
    try:
        await provider.check()
    except ProviderError as error:
        return Finding("provider", ok=False, detail=f"{settings.sora_api_base_url}: {error}")
    finally:
        await provider.close()
    return Finding("provider", ok=True, detail=settings.sora_api_base_url)


async def _look_at_redis(url: RedisUrl) -> Finding:
    try:
        await redis_nodes.check(url)
    except TimeoutError:
        return Finding("redis", ok=False, detail=f"{url}: it does not answer")
    except (OSError, RedisRefused) as error:
        return Finding("redis", ok=False, detail=f"{url}: {error}")
    return Finding("redis", ok=True, detail=str(url))


def _report(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        print_json({f.part: {"ok": f.ok, "detail": logs.without_secrets(f.detail)} for f in findings})
        return
    for finding in findings:
        state = "ok" if finding.ok else "failed"
        print(f"{finding.part:<9} {state:<7} {one_line(logs.without_secrets(finding.detail))}")
