"""How the client follows a task: when it comes back, when it doesn't, and what it yields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from sora_ws.client import Client
from sora_ws.client import watch as watch_module
from sora_ws.client.answers import ClientError, SignInNeeded
from sora_ws.client.watch import BACKOFF_BASE_S, BACKOFF_MAX_S, full_jitter, watch
from tests.cli.scripted import VIDEO, Line, Script, ScriptedServer

pytestmark = pytest.mark.gen_test(timeout=60)


@pytest.fixture
def scripted(io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setattr(watch_module, "BACKOFF_BASE_S", 0.01)
    server = ScriptedServer()
    yield server
    io_loop.run_sync(server.close)


async def seen(url: str) -> list[int]:
    """The seqs of what a watch yields until it ends."""
    async with Client(url, "token") as client, aclosing(watch(client, VIDEO)) as pushes:
        return [push.task.seq async for push in pushes]


def after_one_push(end: Script) -> Script:
    """A connection that pushes a first state, and then ends."""

    async def script(line: Line) -> None:
        await line.subscribed()
        await line.progress(10, seq=1)
        await end(line)

    return script


def closing_with(code: int) -> Script:
    async def end(line: Line) -> None:
        line.close(code)

    return end


async def completing(line: Line) -> None:
    await line.subscribed()
    await line.completed(seq=2)


async def test_a_watch_ends_with_the_task(scripted: ScriptedServer) -> None:
    """The states come in order, the last one says so, and the token was the client's."""
    tokens = []

    async def script(line: Line) -> None:
        tokens.append(await line.subscribed())
        await line.progress(10, seq=1)
        await line.tell("heartbeat", connectedClients=1, uptime=1.0)
        await line.completed(seq=2)

    scripted.scripts = [script]
    async with Client(scripted.url, "token") as client, aclosing(watch(client, VIDEO)) as pushes:
        states = [push async for push in pushes]
    assert [push.is_last for push in states] == [False, True]
    assert states[-1].document["payload"]["result"] == {"videoUrl": "http://localhost/v.mp4"}
    assert tokens == ["token"]


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4413, 4429])
async def test_it_comes_back_after(code: int, scripted: ScriptedServer) -> None:
    """These close codes mean that another connection helps."""
    scripted.scripts = [after_one_push(closing_with(code)), completing]
    assert await seen(scripted.url) == [1, 2]


async def test_it_comes_back_after_a_lost_line(scripted: ScriptedServer) -> None:
    """A connection that ends without a close frame counts as 1006."""

    async def end(line: Line) -> None:
        line.drop()

    scripted.scripts = [after_one_push(end), completing]
    assert await seen(scripted.url) == [1, 2]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_it_tries_again_where_the_server_is_busy(status: int, scripted: ScriptedServer) -> None:
    """A full server, or a proxy before one that restarts, is asked again."""
    scripted.scripts = [after_one_push(closing_with(1001)), status, status, completing]
    assert await seen(scripted.url) == [1, 2]


async def test_it_comes_back_after_an_error_that_passes(scripted: ScriptedServer) -> None:
    """An `error` marked retryable is a break like any other."""

    async def end(line: Line) -> None:
        await line.tell("error", code="INTERNAL", message="Later", retryable=True, retryAfterMs=1)

    scripted.scripts = [after_one_push(end), completing]
    assert await seen(scripted.url) == [1, 2]


@pytest.mark.parametrize("code", [1000, 1003, 4400, 4403])
async def test_it_gives_up_after(code: int, scripted: ScriptedServer) -> None:
    """After these close codes coming back can't help."""
    scripted.scripts = [after_one_push(closing_with(code))]
    with pytest.raises(ClientError, match=str(code)) as raised:
        await seen(scripted.url)
    assert not isinstance(raised.value, SignInNeeded)


@pytest.mark.parametrize("code", [4401, 4408, 4419])
async def test_it_asks_for_a_new_token_after(code: int, scripted: ScriptedServer) -> None:
    """After these close codes only another token helps."""
    scripted.scripts = [after_one_push(closing_with(code))]
    with pytest.raises(SignInNeeded):
        await seen(scripted.url)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("NOT_FOUND", ClientError), ("AUTH_FAILED", SignInNeeded), ("TOKEN_EXPIRED", SignInNeeded)],
)
async def test_an_error_that_stays(code: str, expected: type[ClientError], scripted: ScriptedServer) -> None:
    """An `error` that isn't retryable ends the watch with the server's sentence."""

    async def script(line: Line) -> None:
        await line.says("auth")
        await line.tell("error", code=code, message="Because of this", retryable=False)

    scripted.scripts = [script]
    with pytest.raises(ClientError, match="Because of this") as raised:
        await seen(scripted.url)
    assert type(raised.value) is expected


async def test_a_state_that_is_known_is_not_told_twice(scripted: ScriptedServer) -> None:
    """The state behind a new subscribe counts where it is another one, also with a lower seq."""

    async def restored(line: Line) -> None:
        await line.subscribed()
        await line.progress(5, seq=0)
        await line.completed(seq=2)

    scripted.scripts = [
        after_one_push(closing_with(1001)),
        after_one_push(closing_with(1001)),
        restored,
    ]
    assert await seen(scripted.url) == [1, 0, 2]


async def test_a_token_is_renewed_on_the_open_line(scripted: ScriptedServer) -> None:
    """A watch outlives its token: on `tokenExpiring` it gets a new one and says who it is again."""

    async def script(line: Line) -> None:
        await line.subscribed()
        await line.tell("tokenExpiring", expiresAt=1)
        assert await line.says("auth") == {"token": "another token"}
        await line.completed(seq=2)

    scripted.scripts, scripted.renewals = [script], ["another token"]
    assert await seen(scripted.url) == [2]
    assert scripted.renewed_with == ["Bearer token"]


async def test_a_token_that_can_not_be_renewed_is_used_to_its_end(scripted: ScriptedServer) -> None:
    """A refused renewal doesn't end the watch before the token does."""

    async def script(line: Line) -> None:
        await line.subscribed()
        await line.tell("tokenExpiring", expiresAt=1)
        await line.progress(10, seq=1)
        line.close(4419)

    scripted.scripts, scripted.renewals = [script], [403]
    with pytest.raises(SignInNeeded):
        await seen(scripted.url)


@pytest.mark.parametrize("status", [403, 404, 503])
async def test_the_first_connect_has_to_succeed(status: int, scripted: ScriptedServer) -> None:
    """A server that lets nobody in is told at once instead of being asked for ever."""
    scripted.scripts = [status]
    with pytest.raises(ClientError):
        await seen(scripted.url)


async def test_nobody_listens() -> None:
    """So is one that isn't there."""
    sock, port = bind_unused_port()
    sock.close()
    with pytest.raises(ClientError, match="No server can be reached"):
        await seen(f"http://127.0.0.1:{port}")


async def test_a_page_instead_of_a_websocket(scripted: ScriptedServer) -> None:
    """An ordinary answer is no server of ours."""
    scripted.scripts = [200]
    with pytest.raises(ClientError, match="no WebSocket"):
        await seen(scripted.url)


async def test_a_server_that_never_answers(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the first state is there, silence is an end."""
    monkeypatch.setattr(watch_module, "ANSWER_TIMEOUT_S", 0.1)

    async def script(line: Line) -> None:
        await line.says("auth")

    scripted.scripts = [script]
    with pytest.raises(ClientError, match="does not answer"):
        await seen(scripted.url)


@pytest.mark.parametrize("nonsense", ["{", "[]", '{"type": 7}', '{"type": "taskProgress", "payload": {}}'])
async def test_nonsense_ends_it(nonsense: str, scripted: ScriptedServer) -> None:
    """A message that isn't the protocol's is one line, not a traceback."""

    async def script(line: Line) -> None:
        await line.says("auth")
        await line.write_message(nonsense)

    scripted.scripts = [script]
    with pytest.raises(ClientError, match="is the address right"):
        await seen(scripted.url)


async def test_whoever_stops_watching_lets_the_line_go(scripted: ScriptedServer) -> None:
    """Closing the iterator closes the connection."""
    scripted.scripts = [after_one_push(_nothing)]
    async with Client(scripted.url, "token") as client, aclosing(watch(client, VIDEO)) as pushes:
        await anext(pushes)
    await scripted.running[0]


async def _nothing(_: Line) -> None:
    pass


@given(st.integers(0, 1_000_000))
def test_waits_are_random_below_a_bound_that_doubles(breaks: int) -> None:
    """Full jitter: anything from nothing to the bound, which stops growing."""
    bound = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(breaks, 16))
    waits = [full_jitter(breaks) for _ in range(5)]
    assert all(0 <= wait <= bound for wait in waits)
    assert len(set(waits)) > 1
