"""The fence around a stranger's bytes holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
from tornado.iostream import StreamClosedError
from tornado.tcpserver import TCPServer

from sora_ws.fence import OUTPUT_MAX, Fence

INMATES = "tests.media.inmates"
MEGABYTE = 1024**2
FENCE = Fence(seconds=20, memory=512 * MEGABYTE, file_size=MEGABYTE)


@pytest.mark.gen_test(timeout=60)
async def test_memory_is_limited() -> None:
    """Who takes too much memory gets none."""
    outcome = await FENCE.run(INMATES, "hog_memory")
    assert (outcome.ok, outcome.complaint) == (False, "MemoryError")


@pytest.mark.parametrize("what", ["spin", "wait", "talk"])
@pytest.mark.gen_test(timeout=60)
async def test_time_is_limited(what: str) -> None:
    """Who does not end is ended, at work or not, and what it said without end is not kept."""
    outcome = await Fence(seconds=1, memory=512 * MEGABYTE, file_size=MEGABYTE).run(INMATES, what)
    assert not outcome.ok
    assert outcome.complaint in ("ended: Alarm clock", "ended: CPU time limit exceeded", "ended: Killed")
    assert len(outcome.output) <= OUTPUT_MAX


@pytest.mark.gen_test(timeout=60)
async def test_files_are_limited(tmp_path: Path) -> None:
    """A file ends at its limit."""
    target = tmp_path / "file"
    outcome = await FENCE.run(INMATES, "write", str(target))
    assert not outcome.ok
    assert target.stat().st_size == MEGABYTE


@pytest.mark.gen_test(timeout=60)
async def test_the_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the server is seen inside, priority is low, and there is no core file."""
    monkeypatch.setenv("SORA_API_KEY", "sk-secret")
    outcome = await FENCE.run(INMATES, "show_environment")
    *names, nice, core = outcome.output.decode().split()
    assert set(names) <= {"PYTHONPATH", "PYTHONUTF8", "LC_CTYPE"}
    assert int(nice) == min(os.nice(0) + 10, 19)
    assert core == "0"


@pytest.mark.gen_test(timeout=60)
async def test_few_are_inside_at_once(tmp_path: Path) -> None:
    """The others wait for their turn."""
    fence = Fence(seconds=20, memory=512 * MEGABYTE, file_size=MEGABYTE, at_once=1)
    runs = (fence.run(INMATES, "be_alone", str(tmp_path / "here")) for _ in range(4))
    assert all(outcome.ok for outcome in await asyncio.gather(*runs))


class Line(TCPServer):
    """Tells when somebody connects, and when the line is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.held = asyncio.Event()
        self.broken = asyncio.Event()

    async def handle_stream(self, stream, address) -> None:  # type: ignore[no-untyped-def]
        """Wait until the other end is dead."""
        self.held.set()
        with contextlib.suppress(StreamClosedError):
            await stream.read_until_close()
        self.broken.set()


@pytest.mark.gen_test(timeout=60)
async def test_who_is_no_longer_waited_for_dies() -> None:
    """A cancelled run leaves no process behind."""
    line = Line()
    line.listen(0, "127.0.0.1")
    [listener] = line._sockets.values()
    run = asyncio.create_task(FENCE.run(INMATES, "hold_a_line", str(listener.getsockname()[1])))
    await line.held.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await line.broken.wait()
    line.stop()


@pytest.mark.gen_test(timeout=60)
async def test_a_complaint_is_one_line() -> None:
    """What went wrong is told by the last line of the traceback."""
    outcome = await FENCE.run(INMATES, "write")
    assert outcome.complaint == "TypeError: write() missing 1 required positional argument: 'target'"
