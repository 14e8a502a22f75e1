"""The browser client, sora-ws.js, in a real browser against a server that misbehaves on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.conftest import StartServer
from tests.page.backend import Backend, Line, backend, web_files

OPEN = """
async ({ url, timing, tokens }) => {
  const { SoraWS } = await import("/sora-ws.js");
  globalThis.seen = [];
  globalThis.asked = [];
  const token = (why) => {
    asked.push(why);
    return tokens.length > 1 ? tokens.shift() : tokens[0];
  };
  globalThis.sora = new SoraWS({ url, token, firstWaitMs: 20, longestWaitMs: 40, ...timing });
  for (const name of ["state", "task", "error", "heartbeat", "stats"]) {
    sora.addEventListener(name, ({ detail }) => seen.push({ name, ...detail }));
  }
}
"""


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    """Where the client's file is served."""
    with web_files() as address:
        yield address


@pytest.fixture
def server() -> Iterator[Backend]:
    """A server that does as it is told."""
    with backend() as running:
        yield running


@pytest.fixture
def page(browser: Browser, files: str) -> Iterator[Page]:
    """An empty page of the origin that the client's file comes from."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{files}/blank")
    yield page
    context.close()


def open_client(page: Page, server: Backend, *tokens: str | None, **timing: int) -> None:
    """A client whose token function gives these, the last one for ever."""
    page.evaluate(OPEN, {"url": server.url, "timing": timing, "tokens": list(tokens)})


def connect(page: Page, server: Backend, *tokens: str | None, **timing: int) -> Line:
    """Open the client, let it in, and return the server's end."""
    open_client(page, server, *(tokens or ("good",)), **timing)
    line = server.next()
    line.accept()
    wait_for_state(page, "open")
    return line


def run(page: Page, script: str) -> None:
    """Statements, whose value is nobody's business (Playwright would call a function that comes of them)."""
    page.evaluate(f"() => {{ {script} }}")


def wait_for_state(page: Page, state: str) -> None:
    page.wait_for_function("(state) => sora.state === state", arg=state)


def seen(page: Page, name: str) -> list[Any]:
    found: list[Any] = page.evaluate("(name) => seen.filter((event) => event.name === name)", name)
    return found


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 4413, 4429])
def test_comes_back_by_itself(page: Page, server: Backend, code: int) -> None:
    """After these close codes the client comes back by itself, with the token asked for again."""
    connect(page, server).close(code)
    assert server.next().accept() == "good"
    wait_for_state(page, "open")
    assert page.evaluate("asked") == ["connect", "connect"]
    assert {"name": "state", "state": "waiting", "code": code} in seen(page, "state")


def test_comes_back_after_a_break(page: Page, server: Backend) -> None:
    """A line that breaks without a close frame is opened again."""
    connect(page, server).drop()
    assert server.next().accept() == "good"
    assert {"name": "state", "state": "waiting", "code": 1006} in seen(page, "state")


@pytest.mark.parametrize("code", [4401, 4408, 4419])
def test_comes_back_only_with_a_new_token(page: Page, server: Backend, code: int) -> None:
    """After these the token function is asked for another one, and that one opens the line."""
    connect(page, server, "old", "new").close(code)
    assert server.next().accept() == "new"
    wait_for_state(page, "open")
    assert page.evaluate("asked") == ["connect", "refused"]


@pytest.mark.parametrize("code", [4401, 4408, 4419])
def test_stays_away_with_the_refused_token(page: Page, server: Backend, code: int) -> None:
    """With no other token the client says so and stays away, until `connect()` finds one."""
    connect(page, server, "old", "old", None, "new").close(code)
    wait_for_state(page, "tokenNeeded")
    run(page, "sora.connect()")
    page.wait_for_function("asked.length === 3 && sora.state === 'tokenNeeded'")
    assert server.arrivals.empty()
    run(page, "sora.connect()")
    assert server.next().accept() == "new"


@pytest.mark.parametrize("code", [1003, 1009, 4400, 4403])
def test_never_comes_back(page: Page, server: Backend, code: int) -> None:
    """After these the client has ended, whatever is called."""
    connect(page, server).close(code)
    wait_for_state(page, "closed")
    run(page, "sora.connect()")
    assert page.evaluate("sora.state") == "closed"
    assert page.evaluate("asked") == ["connect"]


def test_close_is_for_good(page: Page, server: Backend) -> None:
    """`close()` ends the line with 1000 and nothing opens it again."""
    line = connect(page, server)
    run(page, "sora.close(); sora.connect()")
    line.connection.recv_events_thread.join()
    assert line.connection.close_code in (1000, 1005)
    assert page.evaluate("sora.state") == "closed"


def test_waits_grow_and_are_random(page: Page, server: Backend) -> None:
    """The wait is any time between nothing and a limit that doubles up to the longest."""
    page.evaluate(
        """() => {
          globalThis.waits = [];
          Math.random = () => 0.5;
          const later = setTimeout;
          globalThis.setTimeout = (run, ms) => later(run, ms > 60 ? ms : (waits.push(ms), 0));
        }"""
    )
    open_client(page, server, "good", firstWaitMs=8, longestWaitMs=50)
    for _ in range(6):
        server.next().close(1012)
    page.wait_for_function("waits.length >= 6")
    assert page.evaluate("waits.slice(0, 6)") == [4, 8, 16, 25, 25, 25]


def test_a_token_that_cannot_be_had_is_asked_for_again(page: Page, server: Backend) -> None:
    """A token function that throws costs a wait, not the line."""
    page.evaluate(
        """async (url) => {
          const { SoraWS } = await import("/sora-ws.js");
          globalThis.errors = [];
          let tries = 0;
          const token = () => {
            tries += 1;
            if (tries < 3) throw new Error("no network");
            return "late";
          };
          globalThis.sora = new SoraWS({ url, token, firstWaitMs: 20 });
          sora.addEventListener("error", ({ detail }) => errors.push(detail.code));
        }""",
        server.url,
    )
    assert server.next().accept() == "late"
    assert page.evaluate("errors") == ["TOKEN_UNAVAILABLE", "TOKEN_UNAVAILABLE"]


def test_silence_is_a_broken_line(page: Page, server: Backend) -> None:
    """A server that says nothing for 25 s is pinged, and given up when it does not answer in 10."""
    page.clock.install()
    line = connect(page, server)
    page.clock.fast_forward(25_000)
    assert line.receive()["type"] == "ping"
    page.clock.fast_forward(10_000)
    server.next().accept()
    assert {"name": "state", "state": "waiting", "code": 1006} in seen(page, "state")


def test_an_answered_ping_keeps_the_line(page: Page, server: Backend) -> None:
    """A quiet server that answers its pings keeps its clients."""
    page.clock.install()
    line = connect(page, server)
    for _ in range(3):
        page.clock.fast_forward(25_000)
        assert line.receive()["type"] == "ping"
        line.send("heartbeat", {"connectedClients": 1, "uptime": 1.0})
        page.wait_for_function("seen.splice(0).some(({ name }) => name === 'heartbeat')")
    assert page.evaluate("sora.state") == "open"
    assert server.arrivals.empty()


def test_a_network_that_is_back_ends_the_wait(page: Page, server: Backend) -> None:
    """`online` brings a waiting client back at once."""
    page.evaluate("Math.random = () => 1")
    connect(page, server, firstWaitMs=3_600_000, longestWaitMs=3_600_000).close(1012)
    wait_for_state(page, "waiting")
    page.evaluate("dispatchEvent(new Event('online'))")
    server.next().accept()


def test_subscribes_again(page: Page, server: Backend) -> None:
    """After a break every watched task and room is subscribed again, a stopped one is not."""
    line = connect(page, server)
    run(page, "sora.watchTask('video_1', () => {}); sora.watchRoom('user')")
    run(page, "sora.watchTask('video_2', () => {})()")
    sent = [line.receive() for _ in range(4)]
    assert [message["type"] for message in sent] == [
        *("subscribe_task", "subscribe_room", "subscribe_task", "unsubscribe_task")
    ]
    line.drop()
    again = server.next()
    again.accept()
    assert [again.subscribe()["payload"], again.subscribe()["payload"]] == [
        {"videoId": "video_1"},
        {"room": "user"},
    ]


def test_older_states_are_dropped(page: Page, server: Backend) -> None:
    """What has a lower or equal seq is not told, except behind the answer to a subscribe."""
    line = connect(page, server)
    run(page, "sora.watchTask('video_1', () => {})")
    line.subscribe()
    for progress, seq in [(10, 100), (20, 200), (15, 150), (20, 200), (30, 300)]:
        line.progress(progress, seq)
    run(page, "sora.watchTask('video_1', () => {})")
    line.subscribe()
    line.progress(25, 250)
    page.wait_for_function("seen.some(({ progress }) => progress === 25)")
    assert [task["progress"] for task in seen(page, "task")] == [10, 20, 30, 25]


def test_a_restored_server_is_believed(page: Page, server: Backend) -> None:
    """Behind a reconnect the server's state counts though its seq is lower than before."""
    line = connect(page, server)
    run(page, "sora.watchRoom('user')")
    line.subscribe()
    line.progress(80, 900)
    page.wait_for_function("seen.some(({ progress }) => progress === 80)")
    line.drop()
    again = server.next()
    again.accept()
    again.subscribe()
    again.progress(40, 400)
    page.wait_for_function("seen.some(({ progress }) => progress === 40)")


def test_an_ended_task_is_let_go(page: Page, server: Backend) -> None:
    """The end of a task is told once and ends its subscription."""
    line = connect(page, server)
    run(page, "globalThis.told = []; sora.watchTask('video_1', (update) => told.push(update.type))")
    line.subscribe()
    line.progress(10, 1)
    line.send("taskCompleted", {"videoId": "video_1", "result": {"videoUrl": "/v"}, "seq": 2})
    assert line.receive()["type"] == "unsubscribe_task"
    assert page.evaluate("told") == ["taskProgress", "taskCompleted"]
    line.drop()
    again = server.next()
    again.accept()
    run(page, "sora.requestStats()")
    assert again.receive()["type"] == "get_stats"


def test_batches_are_asked_for_and_opened(page: Page, server: Backend) -> None:
    """A `taskBatch` is told update by update."""
    open_client(page, server, "good")
    line = server.next()
    auth = line.receive()
    assert auth["payload"] == {"token": "good", "batch": True}
    updates = [
        {"type": "taskProgress", "payload": {"videoId": f"video_{n}", "progress": n, "seq": 1}}
        for n in range(3)
    ]
    line.send("taskBatch", {"updates": updates})
    page.wait_for_function("seen.filter(({ name }) => name === 'task').length === 3")


def test_one_listeners_fault_is_its_own(page: Page, server: Backend) -> None:
    """A listener that throws is reported and costs the others nothing."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(error.message))
    line = connect(page, server)
    page.evaluate(
        """() => {
          globalThis.told = [];
          sora.watchTask("video_1", () => { throw new Error("mine"); });
          sora.watchTask("video_1", ({ progress }) => told.push(progress));
        }"""
    )
    line.subscribe()
    line.subscribe()
    line.progress(7, 1)
    page.wait_for_function("told.includes(7)")
    assert faults == ["mine"]


def test_a_refused_subscription_is_told_and_forgotten(page: Page, server: Backend) -> None:
    """NOT_FOUND reaches the page with the task's id and is not asked for again."""
    line = connect(page, server)
    run(page, "sora.watchTask('video_9', () => {})")
    request = line.receive()
    line.send("error", {"code": "NOT_FOUND", "message": "no", "retryable": False}, request["id"])
    page.wait_for_function("seen.some(({ name }) => name === 'error')")
    assert seen(page, "error")[0]["videoId"] == "video_9"
    line.drop()
    again = server.next()
    again.accept()
    run(page, "sora.requestStats()")
    assert again.receive()["type"] == "get_stats"


def test_a_limit_is_respected_and_tried_again(page: Page, server: Backend) -> None:
    """LIMIT_EXCEEDED sends what has no answer yet again, after the time that the server asks for."""
    line = connect(page, server)
    run(page, "sora.watchTask('video_1', () => {}); sora.watchTask('video_2', () => {})")
    line.subscribe()
    request = line.receive()
    line.send(
        "error",
        {"code": "LIMIT_EXCEEDED", "message": "", "retryable": True, "retryAfterMs": 20},
        request["id"],
    )
    assert line.subscribe()["payload"] == {"videoId": "video_2"}


def test_a_token_is_renewed_on_the_live_line(page: Page, server: Backend) -> None:
    """`tokenExpiring` brings the next token on the same line."""
    line = connect(page, server, "first", "second")
    line.send("tokenExpiring", {"expiresAt": 1})
    assert line.accept() == "second"
    assert page.evaluate("asked") == ["connect", "expiring"]
    assert server.arrivals.empty()


def test_a_frontend_elsewhere_imports_it(page: Page, start_server: StartServer) -> None:
    """A page of another origin imports the client from the server and sees a video to its end."""
    server = start_server()
    token = server.sign_in()
    video_id = server.create(token)
    page.evaluate(
        """async ({ file, token, videoId }) => {
          const { SoraWS } = await import(file);
          globalThis.told = [];
          new SoraWS({ token }).watchTask(videoId, (update) => told.push(update));
        }""",
        {"file": f"{server.url}/sora-ws.js", "token": token, "videoId": video_id},
    )
    page.wait_for_function("told.at(-1)?.type === 'taskCompleted'")
    assert "/media/" in page.evaluate("told.at(-1).result.videoUrl")
