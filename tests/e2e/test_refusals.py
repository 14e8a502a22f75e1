"""Every error and close code of the protocol, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from sora_ws.auth import Accounts
from sora_ws.backing import make_store
from sora_ws.store.sqlite import SqliteStore
from tests.backends.jobs import Dialect
from tests.e2e.world import GUARD_S, Line, StartWorld, World, token

pytestmark = pytest.mark.parametrize("transport", ["fast", "stream"])

RUNNING = Dialect(looks=None)
UNKNOWN = f"video_{'0' * 32}"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


def error_of(message: dict[str, Any], code: str, *, id_: object = None) -> dict[str, Any]:
    """The payload of an `error` of this code."""
    assert message["type"] == "error", message
    assert message.get("id") == id_
    payload: dict[str, Any] = message["payload"]
    assert payload["code"] == code, payload
    assert set(payload) - {"retryAfterMs"} == {"code", "message", "retryable"}
    return payload


async def say_raw(line: Line, text: str) -> dict[str, Any]:
    await line.socket.send(text)
    return await line.hear()


NOT_MESSAGES = {
    "not JSON": "hello",
    "nothing": "",
    "a list": "[]",
    "a string": '"auth"',
    "no type": "{}",
    "type is a number": '{"type": 1}',
    "id is an object": '{"type": "ping", "id": {}}',
    "NaN": '{"type": "ping", "id": NaN}',
    "lone surrogate": '{"type": "\\ud800"}',
    "too deep": '{"type": "auth", "payload": ' + "[" * 20_000 + "]" * 20_000 + "}",
}


@pytest.mark.parametrize("name", NOT_MESSAGES)
@pytest.mark.gen_test(timeout=60)
async def test_bad_message(world: StartWorld, name: str) -> None:
    """BAD_MESSAGE, and the connection stays."""
    async with world() as w:
        line = await w.line()
        error_of(await say_raw(line, NOT_MESSAGES[name]), "BAD_MESSAGE")
        await line.silence()


@pytest.mark.gen_test(timeout=60)
async def test_wrong_payloads(world: StartWorld) -> None:
    """Each is a BAD_MESSAGE with the request's id, and says which field is wrong."""
    async with world() as w:
        line = await w.line("ada")
        for type_, payload, field in [
            ("subscribe_task", {}, "videoId"),
            ("subscribe_task", {"videoId": 7}, "videoId"),
            ("subscribe_room", {"room": None}, "room"),
            ("auth", {"token": token(), "batch": "yes"}, "batch"),
        ]:
            error = error_of(await line.ask(type_, payload, id="w"), "BAD_MESSAGE", id_="w")
            assert field in error["message"]
            await line.silence()
        error_of(await say_raw(line, '{"type": "subscribe_task", "payload": []}'), "BAD_MESSAGE")


@pytest.mark.gen_test(timeout=60)
async def test_the_tenth_bad_message_in_a_row_closes(world: StartWorld) -> None:
    """4400; one good message begins the count anew."""
    async with world() as w:
        line = await w.line()
        for _ in range(9):
            error_of(await say_raw(line, "x"), "BAD_MESSAGE")
        await line.silence()
        for _ in range(10):
            error_of(await say_raw(line, "x"), "BAD_MESSAGE")
        assert await line.closed() == 4400


@pytest.mark.gen_test(timeout=60)
async def test_ten_bad_messages_that_are_not_in_a_row(world: StartWorld) -> None:
    """Any other answer in between begins the count anew, also another error."""
    async with world() as w:
        line = await w.line()
        for _ in range(2):
            for _ in range(9):
                error_of(await say_raw(line, "x"), "BAD_MESSAGE")
            error_of(await line.ask("nonsense"), "AUTH_REQUIRED")
        await line.silence()


@pytest.mark.gen_test(timeout=60)
async def test_a_bad_message_is_answered_with_its_id(world: StartWorld) -> None:
    """As far as an id can be made out."""
    async with world() as w:
        line = await w.line()
        error_of(await say_raw(line, '{"id": "x7", "type": 5}'), "BAD_MESSAGE", id_="x7")
        error_of(await say_raw(line, '{"id": 8, "payload": {}}'), "BAD_MESSAGE", id_=8)


@pytest.mark.parametrize("frame", ["ping", "pong", "text", "empty fragments"])
@pytest.mark.gen_test(timeout=60)
async def test_a_flood_holds_nobody_up(world: StartWorld, frame: str) -> None:
    """Megabytes of tiny frames from a stranger: others are answered meanwhile, and it is shut out."""
    head = {"ping": b"\x89\x80", "pong": b"\x8a\x80", "text": b"\x81\x80", "empty fragments": b"\x00\x80"}
    async with world() as w:
        witness = await w.line("ada")
        reader, writer = await asyncio.open_connection("127.0.0.1", w.app.settings.port)
        start = b"\x01\x80\0\0\0\0" if frame == "empty fragments" else b""
        writer.write(UPGRADE + start + (head[frame] + b"\0\0\0\0") * 200_000)
        answered = 0
        for _ in range(20):
            await witness.silence()
            answered += 1
        assert answered == 20
        if code := {"ping": 4429, "text": 4400}.get(frame):
            assert struct.pack(">H", code) in await asyncio.wait_for(reader.read(), GUARD_S)
        writer.close()


@pytest.mark.gen_test(timeout=60)
async def test_unknown_type_and_auth_required(world: StartWorld) -> None:
    """Both are answered with the id, and the connection stays."""
    async with world() as w:
        line = await w.line()
        for type_ in (
            "subscribe_task",
            "unsubscribe_task",
            "subscribe_room",
            "unsubscribe_room",
            "get_stats",
        ):
            error_of(
                await line.ask(type_, {"videoId": UNKNOWN, "room": "user"}, id=2), "AUTH_REQUIRED", id_=2
            )
        error_of(await line.ask("subscribe", id=1), "AUTH_REQUIRED", id_=1)
        await line.auth()
        error_of(await line.ask("subscribe", id=1), "UNKNOWN_TYPE", id_=1)


@pytest.mark.gen_test(timeout=60)
async def test_wrong_tokens(world: StartWorld) -> None:
    """AUTH_FAILED and 4401 for whatever is none of ours; TOKEN_EXPIRED and 4419 for one that is over."""
    async with world() as w:
        for wrong in ("", "x", token()[:-3] + "abc", 7, None, ["a"], {"$ne": 1}, "e" * 60_000):
            line = await w.line()
            error_of(await line.ask("auth", {"token": wrong}, id="a"), "AUTH_FAILED", id_="a")
            assert await line.closed() == 4401
        line = await w.line()
        error_of(await line.ask("auth"), "AUTH_FAILED")
        line = await w.line()
        error_of(await line.ask("auth", {"token": token(lives_s=-1)}), "TOKEN_EXPIRED")
        assert await line.closed() == 4419


@pytest.mark.gen_test(timeout=60)
async def test_a_second_auth_is_the_same_user_only(world: StartWorld) -> None:
    """Another user's token on a live line ends it with 4401."""
    async with world() as w:
        line = await w.line("ada")
        await line.auth("ada")
        error_of(await line.ask("auth", {"token": token("bob")}), "AUTH_FAILED")
        assert await line.closed() == 4401


@pytest.mark.gen_test(timeout=60)
async def test_no_auth_in_time(world: StartWorld) -> None:
    """4408 for who is silent, also when it pings; an authenticated one stays."""
    async with world(WS_AUTH_TIMEOUT="300") as w:
        good, silent = await w.line("ada"), await w.line()
        await silent.ask("ping")
        assert await silent.closed() == 4408
        await good.silence()


@pytest.mark.gen_test(timeout=60)
async def test_not_found_is_the_same_for_unknown_and_foreign(worlds: StartWorld) -> None:
    """No oracle: the words are the same for no task, for somebody else's, and for what is no id."""
    async with worlds(RUNNING) as w:
        video_id = await w.create(user="ada")
        line = await w.line("eve")
        answers = [
            error_of(await line.ask("subscribe_task", {"videoId": asked}, id=1), "NOT_FOUND", id_=1)
            for asked in (video_id, UNKNOWN, "", "../../etc/passwd", '{"$ne": 1}', "video_\x00")
        ]
        assert all(answer == answers[0] for answer in answers)
        await line.silence()


@pytest.mark.gen_test(timeout=60)
async def test_too_many_subscriptions(world: StartWorld) -> None:
    """LIMIT_EXCEEDED for one more; the same again, and another in its place, goes."""
    async with world(RUNNING, MAX_SUBSCRIPTIONS="2", MAX_MESSAGES_PER_SECOND="100000") as w:
        ids = [await w.create(f"{n}") for n in range(3)]
        line = await w.line("ada")
        for video_id in (ids[0], ids[1], ids[1]):
            await line.say("subscribe_task", {"videoId": video_id})
            await line.hear_until("taskProgress", videoId=video_id)
        await line.say("subscribe_task", {"videoId": ids[2]}, id=3)
        error = error_of(await line.hear_until("error"), "LIMIT_EXCEEDED", id_=3)
        assert error["retryAfterMs"] > 0
        await line.say("unsubscribe_task", {"videoId": ids[0]})
        await line.say("subscribe_task", {"videoId": ids[2]})
        await line.hear_until("subscribeSuccess", videoId=ids[2])


@pytest.mark.gen_test(timeout=60)
async def test_too_many_messages(world: StartWorld) -> None:
    """LIMIT_EXCEEDED with retryAfterMs at most once a second, and after 500 refused ones 4429."""
    async with world(MAX_SUBSCRIPTIONS="5", MAX_MESSAGES_PER_SECOND="1") as w:
        line = await w.line("ada")
        for _ in range(600):
            await line.say("ping", id="flood")
        assert await line.closed() == 4429
        errors = [m for m in line.heard if m["type"] == "error"]
        assert 1 <= len(errors) <= 5
        assert error_of(errors[0], "LIMIT_EXCEEDED", id_="flood")["retryAfterMs"] > 0
        assert sum(m["type"] == "pong" for m in line.heard) <= 15


@pytest.mark.gen_test(timeout=60)
async def test_too_many_connections_of_a_user(world: StartWorld) -> None:
    """LIMIT_EXCEEDED and 4429 at auth; another user is not concerned."""
    async with world(MAX_CONNECTIONS_PER_USER="2") as w:
        for _ in range(2):
            await w.line("ada")
        line = await w.line()
        error = error_of(await line.ask("auth", {"token": token("ada")}), "LIMIT_EXCEEDED")
        assert error["retryAfterMs"] > 0
        assert await line.closed() == 4429
        await w.line("bob")


@pytest.mark.gen_test(timeout=60)
async def test_a_lost_team_pushes_no_more(world: StartWorld) -> None:
    """A renewed token with fewer teams ends the subscriptions that only they allowed."""
    async with world(RUNNING) as w:
        headers = {"Authorization": f"Bearer {token('bob', teams=['film'])}"}
        answer = await w.request("POST", "/api/videos", {"prompt": "b", "team": "film"}, user=None, **headers)
        video_id = json.loads(answer.body)["videoId"]
        line = await w.line()
        await line.auth("ada", teams=["film"])
        for type_, payload in (
            ("subscribe_task", {"videoId": video_id}),
            ("subscribe_room", {"room": "team:film"}),
            ("subscribe_room", {"room": "user"}),
        ):
            await line.say(type_, payload)
            await line.hear_until("subscribeSuccess")
        await line.say("auth", {"token": token("ada")})
        await line.hear_until("authSuccess")
        cancelled = await w.request("POST", f"/api/videos/{video_id}/cancel", user=None, **headers)
        assert cancelled.code == 202
        await line.silence()
        stats = await line.ask("get_stats")
        assert stats["payload"]["subscriptions"] == 1


@pytest.mark.gen_test(timeout=60)
async def test_what_is_no_handshake(world: StartWorld) -> None:
    """A problem that says what the address is for, and nothing of who serves it."""
    async with world() as w:
        for method, status in (("GET", 426), ("POST", 405)):
            answer = await w.request(method, "/ws")
            assert answer.code == status
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Server" not in answer.headers
            assert json.loads(answer.body)["status"] == status


async def refused(w: World, **headers: str) -> tuple[int, Headers]:
    """The status and headers of a handshake that must not succeed."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{w.http.replace('http', 'ws')}/ws", additional_headers=headers):
            raise AssertionError("was let in")
    response = caught.value.response
    return response.status_code, response.headers


@pytest.mark.gen_test(timeout=60)
async def test_before_the_upgrade(world: StartWorld) -> None:
    """403 for a foreign origin, 503 for a full server, 429 for a full address, with Retry-After."""
    async with world(MAX_CONNECTIONS="3", MAX_CONNECTIONS_PER_ADDRESS="2") as w:
        for origin in (
            "https://evil.example",
            "null",
            f"http://localhost.evil.example:{w.app.settings.port}",
        ):
            assert (await refused(w, Origin=origin))[0] == 403
        strangers = [await w.line(origin="http://localhost:5173"), await w.line()]
        status, headers = await refused(w)
        assert status == 429
        assert int(headers["Retry-After"]) > 0
        other = {"X-Real-IP": "203.0.113.7"}
        await w.line(additional_headers=other)
        status, headers = await refused(w, **other)
        assert status == 503
        assert int(headers["Retry-After"]) > 0
        await strangers[0].socket.close()
        await w.line(additional_headers=other)


@pytest.mark.gen_test(timeout=60)
async def test_allowed_origins(world: StartWorld) -> None:
    """With a list, only what stands in it."""
    async with world(ALLOWED_ORIGINS="https://app.example.com") as w:
        assert (await refused(w, Origin="http://localhost:3000"))[0] == 403
        await w.line("ada", origin="https://app.example.com")


@pytest.mark.gen_test(timeout=60)
async def test_wrong_frames(world: StartWorld) -> None:
    """Binary 1003, too long 1009, unmasked 1002, wrong UTF-8 or half a deflated message 1007.

    Other connections don't notice.
    """
    async with world(MAX_MESSAGE_BYTES="2048", WS_COMPRESSION="on") as w:
        witness = await w.line("ada")
        line = await w.line("ada")
        await line.socket.send(b"binary")
        assert await line.closed() == 1003
        line = await w.line("ada")
        await line.socket.send("x" * 2049)
        assert await line.closed() == 1009
        for raw, code in [
            (Frame(Opcode.TEXT, b"hi").serialize(mask=False), 1002),
            (b"\x83\x80\0\0\0\0", 1002),
            (b"\x81\x82\0\0\0\0\xff\xff", 1007),
            (b"\xc1\x83\0\0\0\0" + zlib.compress(b"{}" * 9, wbits=-15)[:3], 1007),
            (b"\x81\xff" + struct.pack(">Q", 2**62), 1009),
        ]:
            assert await close_code_after(w, raw) == code
        await witness.silence()


async def close_code_after(w: World, raw: bytes) -> int:
    """The code of the close frame that these bytes bring behind a handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", w.app.settings.port)
    writer.write(UPGRADE + raw)  # in one segment, as a client may send it
    answer = await asyncio.wait_for(reader.read(), GUARD_S)
    writer.close()
    frame = answer.partition(b"\r\n\r\n")[2]
    assert frame[0] == 0x88, answer
    return int(struct.unpack_from(">H", frame, 2)[0])


@pytest.mark.gen_test(timeout=60)
async def test_a_reset_behind_the_own_handshake(world: StartWorld, caplog: pytest.LogCaptureFixture) -> None:
    """Handshake, messages and reset at once: the line is gone, and the log has nothing to say of it."""
    async with world() as w:
        for _ in range(20):
            sock = socket.create_connection(("127.0.0.1", w.app.settings.port))
            sock.sendall(UPGRADE + text_frame({"type": "auth", "payload": {"token": token()}}) * 3)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        line = await w.line("ada")
        while (await line.ask("get_stats"))["payload"]["connectedClients"] > 1:
            pass
    assert "Uncaught" not in caplog.text


@pytest.mark.gen_test(timeout=60)
async def test_a_silent_line_is_closed(world: StartWorld) -> None:
    """Nothing at all for two intervals, not even a pong: 4413. Who answers pings stays."""
    async with world(WS_HEARTBEAT_INTERVAL="300") as w:
        alive = await w.line("ada")
        alive.wants_beats = True
        reader, writer = await asyncio.open_connection("127.0.0.1", w.app.settings.port)
        writer.write(UPGRADE + text_frame({"type": "auth", "payload": {"token": token("bob")}}))
        answer = await asyncio.wait_for(reader.read(), GUARD_S)
        assert struct.pack(">H", 4413) in answer
        writer.close()
        for _ in range(4):
            await alive.hear_until("heartbeat")


@pytest.mark.gen_test(timeout=60)
async def test_who_does_not_read_is_closed(world: StartWorld) -> None:
    """Unread bytes stay under the setting and the line ends; everybody else goes on."""
    async with world(MAX_SEND_BUFFER_BYTES="65536", MAX_SUBSCRIPTIONS="100000") as w:
        line = await w.line("ada")
        stuck = await raw_line(w, receive_buffer=4096)
        auth = {"type": "auth", "payload": {"token": token("bob")}}
        stuck.write(text_frame(auth) + text_frame({"type": "get_stats"}) * 5000)
        while True:
            stats = await line.ask("get_stats")
            if stats["payload"]["connectedClients"] == 1:
                break
        stuck.close()


async def raw_line(w: World, receive_buffer: int) -> asyncio.StreamWriter:
    """A connection with an upgrade under way that nobody reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", w.app.settings.port))
    _, writer = await asyncio.open_connection(sock=sock, limit=1)
    writer.write(UPGRADE)
    return writer


def text_frame(message: dict[str, Any]) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)


@pytest.mark.gen_test(timeout=60)
async def test_a_disabled_user_is_shut_out(worlds: StartWorld) -> None:
    """4403 on the open line soon after, and at the next auth; REST answers 401."""
    async with worlds() as w:
        line = await w.line("ada")
        store = make_store(w.app.settings)
        await store.open()
        await Accounts(store).add("ada", "a long password")
        await Accounts(store).disable("ada")
        await store.close()
        assert await line.closed() == 4403
        line = await w.line()
        await line.say("auth", {"token": token("ada")})
        assert await line.closed() == 4403
        assert (await w.request("GET", "/api/videos")).code == 401


@pytest.mark.gen_test(timeout=60)
async def test_a_stopping_server_says_so(world: StartWorld) -> None:
    """1001 to everybody."""
    async with world(DRAIN_SECONDS="1") as w:
        lines = [await w.line("ada") for _ in range(5)]
        await w.app.stop()
        assert [await line.closed() for line in lines] == [1001] * 5


@pytest.mark.gen_test(timeout=60)
async def test_a_fault_of_ours_is_internal(world: StartWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """INTERNAL, retryable, with the id and no word of what broke; the connection stays."""
    async with world() as w:
        line = await w.line("ada")

        async def broken(*args: object, **kwargs: object) -> None:
            raise RuntimeError("the secret is 42")

        with monkeypatch.context() as patched:
            patched.setattr(SqliteStore, "_tasks", broken)
            error = error_of(await line.ask("subscribe_task", {"videoId": UNKNOWN}, id=5), "INTERNAL", id_=5)
        assert error["retryable"] is True
        assert "42" not in error["message"]
        await line.silence()
