"""Every message of the WebSocket protocol letter by letter, with a client that is not ours."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.backends.jobs import Dialect
from tests.e2e.world import StartWorld, token

ENVELOPE = {"type", "timestamp", "payload"}
pytestmark = pytest.mark.parametrize("transport", ["fast", "stream"])

RUNNING = Dialect(looks=None)


def payload_of(message: dict[str, Any], type_: str, *, id_: object = None) -> dict[str, Any]:
    """The payload of a message that has just this envelope."""
    assert message["type"] == type_, message
    assert set(message) == (ENVELOPE if id_ is None else ENVELOPE | {"id"})
    assert message.get("id") == id_
    assert abs(message["timestamp"] - time.time() * 1000) < 60_000
    payload: dict[str, Any] = message["payload"]
    return payload


@pytest.mark.gen_test(timeout=60)
async def test_auth_success(worlds: StartWorld) -> None:
    """userId, username, sessionId and expiresAt, with the request's id."""
    async with worlds() as w:
        line = await w.line()
        named = token("ada", username="Ada L.", teams=["film"])
        answer = await line.ask("auth", {"token": named}, id="a-1", timestamp=123)
        payload = payload_of(answer, "authSuccess", id_="a-1")
        assert set(payload) == {"userId", "username", "sessionId", "expiresAt"}
        assert (payload["userId"], payload["username"]) == ("ada", "Ada L.")
        assert re.fullmatch(r"ws_[0-9]{10}_[a-z0-9]{6,}", payload["sessionId"])
        assert payload["expiresAt"] % 1000 == 0
        assert payload["expiresAt"] > time.time() * 1000


@pytest.mark.gen_test(timeout=60)
async def test_auth_and_subscribe_sent_together(worlds: StartWorld) -> None:
    """Handled in order: the subscribe behind an auth works without waiting for it."""
    async with worlds(RUNNING) as w:
        video_id = await w.create()
        line = await w.line()
        await line.say("auth", {"token": token("ada")})
        await line.say("subscribe_task", {"videoId": video_id})
        payload_of(await line.hear(), "authSuccess")
        success = payload_of(await line.hear(), "subscribeSuccess")
        assert success == {"videoId": video_id, "subscribed": True}
        state = payload_of(await line.hear(), "taskProgress")
        assert state["videoId"] == video_id


@pytest.mark.gen_test(timeout=60)
async def test_progress_to_completed(worlds: StartWorld) -> None:
    """All pushes of a task that works: fields, words, order, and the video behind the link."""
    async with worlds(Dialect(looks=4), MESSAGE_LANGUAGE="zh") as w:
        line = await w.line("ada")
        await line.ask("subscribe_room", {"room": "user"})
        video_id = await w.create("一只猫")
        completed = await line.hear_until("taskCompleted")
        pushes = [m for m in line.heard if m["type"].startswith("task")]
        for message in pushes[:-1]:
            payload = payload_of(message, "taskProgress")
            assert set(payload) == {
                *("videoId", "status", "progress", "currentStep", "totalSteps"),
                *("message", "estimatedTimeRemaining", "seq"),
            }
            assert payload["videoId"] == video_id
            assert payload["totalSteps"] == 4
            assert type(payload["progress"]) is int
            assert 0 <= payload["progress"] <= 99
            remaining = payload["estimatedTimeRemaining"]
            assert remaining is None or type(remaining) is int
            steps = {
                "submitting": "QUEUED",
                "queued": "QUEUED",
                "rendering": "PROCESSING",
                "archiving": "PROCESSING",
            }
            assert payload["status"] == steps[payload["currentStep"]]
            words = {
                "submitting": "正在提交任务...",
                "queued": "排队中...",
                "rendering": "正在生成视频...",
                "archiving": "正在保存视频...",
            }
            assert payload["message"] == words[payload["currentStep"]]
        seqs = [m["payload"]["seq"] for m in pushes]
        assert seqs == sorted(set(seqs))
        progress = [m["payload"]["progress"] for m in pushes]
        assert progress == sorted(progress)
        order = ["submitting", "queued", "rendering", "archiving"]
        steps_seen = [order.index(m["payload"]["currentStep"]) for m in pushes[:-1]]
        assert steps_seen == sorted(steps_seen)

        payload = payload_of(completed, "taskCompleted")
        assert set(payload) == {"videoId", "status", "progress", "result", "metrics", "seq"}
        assert (payload["status"], payload["progress"]) == ("completed", 100)
        result, metrics = payload["result"], payload["metrics"]
        assert set(result) == {"videoUrl", "thumbnailUrl", "duration", "fileSize", "resolution"}
        assert re.fullmatch(r"[0-9]+x[0-9]+", result["resolution"])
        assert isinstance(result["duration"], int | float)
        assert set(metrics) == {"totalTime", "queueTime", "processTime"}
        assert metrics["totalTime"] == metrics["queueTime"] + metrics["processTime"]
        video = await w.request("GET", result["videoUrl"], user=None)
        assert (video.code, len(video.body)) == (200, result["fileSize"])
        assert video.headers["Content-Type"] == "video/mp4"
        picture = await w.request("GET", result["thumbnailUrl"], user=None)
        assert (picture.code, picture.headers["Content-Type"]) == (200, "image/jpeg")
        await line.silence()


@pytest.mark.gen_test(timeout=60)
async def test_failed(worlds: StartWorld) -> None:
    """taskFailed with code, message, details and retryable, and nothing behind it."""
    async with worlds() as w:
        line = await w.line("ada")
        pushes = await line.follow(await w.create("a cat [fail]"))
        payload = payload_of(pushes[-1], "taskFailed")
        assert set(payload) == {"videoId", "status", "error", "seq"}
        assert payload["status"] == "failed"
        error = payload["error"]
        assert set(error) == {"code", "message", "details", "retryable"}
        assert (error["code"], error["message"]) == ("GENERATION_FAILED", "Video generation failed")
        assert error["retryable"] is True
        assert isinstance(error["details"], str)
        await line.silence()


@pytest.mark.gen_test(timeout=60)
async def test_blocked_and_cancelled(worlds: StartWorld) -> None:
    """The more exact codes: what moderation refused, and what its owner called off."""
    async with worlds(RUNNING, MESSAGE_LANGUAGE="zh") as w:
        line = await w.line("ada")
        pushes = await line.follow(await w.create("a cat [blocked]"))
        error = payload_of(pushes[-1], "taskFailed")["error"]
        assert (error["code"], error["retryable"]) == ("MODERATION_BLOCKED", False)
        assert error["message"] == "视频生成失败"

        video_id = await w.create()
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="rendering")
        assert (await w.request("POST", f"/api/videos/{video_id}/cancel")).code == 202
        cancelled = await line.hear_until("taskFailed", videoId=video_id)
        error = cancelled["payload"]["error"]
        assert (error["code"], error["message"]) == ("CANCELLED", "任务已取消")
        assert (await w.task(video_id))["status"] == "CANCELLED"
        await line.silence()


@pytest.mark.gen_test(timeout=60)
async def test_subscribe_again_and_unsubscribe(worlds: StartWorld) -> None:
    """Subscribing twice is answered twice, with the state, and counts once; unsubscribed, all is quiet."""
    async with worlds(RUNNING) as w:
        video_id = await w.create()
        line = await w.line("ada")
        for number in (1, 2):
            await line.say("subscribe_task", {"videoId": video_id}, id=number)
            answer = await line.hear_until("subscribeSuccess")
            success = {"videoId": video_id, "subscribed": True}
            assert payload_of(answer, "subscribeSuccess", id_=number) == success
            payload_of(await line.hear(), "taskProgress")
        await line.say("get_stats")
        assert (await line.hear_until("stats"))["payload"]["subscriptions"] == 1
        await line.say("unsubscribe_task", {"videoId": video_id}, id="u")
        answer = await line.hear_until("unsubscribeSuccess")
        assert payload_of(answer, "unsubscribeSuccess", id_="u") == {"videoId": video_id, "subscribed": False}
        await w.request("POST", f"/api/videos/{video_id}/cancel")
        await line.silence()
        again = await line.ask("unsubscribe_task", {"videoId": video_id})
        assert payload_of(again, "unsubscribeSuccess") == {"videoId": video_id, "subscribed": False}


@pytest.mark.gen_test(timeout=60)
async def test_an_ended_task_shows_its_end_to_who_comes_late(worlds: StartWorld) -> None:
    """The state behind subscribeSuccess is the end where there is one."""
    async with worlds() as w:
        video_id = await w.create()
        first, late = await w.line("ada"), await w.line("ada")
        end = (await first.follow(video_id))[-1]["payload"]
        await late.ask("subscribe_task", {"videoId": video_id})
        assert payload_of(await late.hear(), "taskCompleted") == end


@pytest.mark.gen_test(timeout=60)
async def test_two_players_of_one_user_never_see_each_others_task(worlds: StartWorld) -> None:
    """Nobody is subscribed without asking: the players don't compare videoId."""
    async with worlds(Dialect(looks=4)) as w:
        ids = [await w.create("one"), await w.create("two")]
        players = [await w.line("ada"), await w.line("ada")]
        for player, video_id in zip(players, ids, strict=True):
            await player.say("subscribe_task", {"videoId": video_id})
        for player, video_id in zip(players, ids, strict=True):
            await player.hear_until("taskCompleted")
            await player.silence()
            seen = {m["payload"]["videoId"] for m in player.heard if "videoId" in m["payload"]}
            assert seen == {video_id}


@pytest.mark.gen_test(timeout=60)
async def test_rooms(worlds: StartWorld) -> None:
    """`user` brings my live tasks and their changes, `team:NAME` the team's, and neither anybody else's."""
    async with worlds(RUNNING) as w:
        mine = await w.create()
        headers = {"Authorization": f"Bearer {token('bob', teams=['film'])}"}
        answer = await w.request("POST", "/api/videos", {"prompt": "b", "team": "film"}, user=None, **headers)
        assert answer.code == 202, answer.body
        line = await w.line()
        await line.auth("ada", teams=["film"])
        answer = await line.ask("subscribe_room", {"room": "user"}, id="r")
        assert payload_of(answer, "subscribeSuccess", id_="r") == {"room": "user", "subscribed": True}
        assert payload_of(await line.hear(), "taskProgress")["videoId"] == mine
        await line.say("subscribe_room", {"room": "team:film"}, id="t")
        answer = await line.hear_until("subscribeSuccess")
        assert payload_of(answer, "subscribeSuccess", id_="t") == {"room": "team:film", "subscribed": True}
        theirs = (await line.hear_until("taskProgress"))["payload"]["videoId"]
        while theirs == mine:
            theirs = (await line.hear_until("taskProgress"))["payload"]["videoId"]

        stranger = await w.line("eve")
        await stranger.ask("subscribe_room", {"room": "user"})
        await stranger.silence()
        for room in ("team:film", "team:", "everybody", ""):
            refused = payload_of(
                await stranger.ask("subscribe_room", {"room": room}, id="x"), "error", id_="x"
            )
            assert refused["code"] == "FORBIDDEN"

        await line.say("unsubscribe_room", {"room": "user"}, id="z")
        answer = await line.hear_until("unsubscribeSuccess")
        assert payload_of(answer, "unsubscribeSuccess", id_="z") == {"room": "user", "subscribed": False}


@pytest.mark.gen_test(timeout=60)
async def test_ping_and_stats(world: StartWorld) -> None:
    """pong is empty and needs no auth; stats has its eight figures."""
    async with world(RUNNING) as w:
        line = await w.line()
        assert payload_of(await line.ask("ping"), "pong") == {}
        assert payload_of(await line.ask("ping", id=7), "pong", id_=7) == {}
        await line.auth()
        await w.create()
        stats = payload_of(await line.ask("get_stats", id="s"), "stats", id_="s")
        assert set(stats) == {
            *("connectedClients", "authenticatedClients", "subscriptions", "activeTasks"),
            *("messagesSent", "messagesPerSecond", "slowConsumers", "uptime"),
        }
        assert (stats["connectedClients"], stats["authenticatedClients"], stats["activeTasks"]) == (1, 1, 1)
        assert stats["messagesSent"] >= 3


@pytest.mark.gen_test(timeout=60)
async def test_heartbeat(world: StartWorld) -> None:
    """Once in every interval to every authenticated connection, with a protocol ping; none before auth."""
    async with world(WS_HEARTBEAT_INTERVAL="200") as w:
        stranger, line = await w.line(), await w.line("ada")
        stranger.wants_beats = line.wants_beats = True
        for _ in range(3):
            payload = payload_of(await line.hear(), "heartbeat")
            assert set(payload) == {"connectedClients", "uptime"}
            assert payload["connectedClients"] == 2
            assert isinstance(payload["uptime"], float)
        await stranger.silence()


@pytest.mark.gen_test(timeout=60)
async def test_task_batch(worlds: StartWorld) -> None:
    """Who asked for it gets the pushes of one flush as one message, with the same types and payloads."""
    async with worlds(Dialect(looks=2)) as w:
        line = await w.line()
        await line.auth("ada", batch=True)
        await line.ask("subscribe_room", {"room": "user"})
        ids = {await w.create() for _ in range(3)}
        done: set[str] = set()
        while done != ids:
            message = await line.hear()
            for update in payload_of(message, "taskBatch")["updates"]:
                assert set(update) == {"type", "payload"}
                if update["type"] == "taskCompleted":
                    done.add(update["payload"]["videoId"])


@pytest.mark.gen_test(timeout=60)
async def test_the_last_auth_decides_on_batches(world: StartWorld) -> None:
    """One without `batch` ends them, and one with it begins them again, on the same connection."""
    async with world(Dialect(looks=2)) as w:
        line = await w.line("ada")
        await line.ask("subscribe_room", {"room": "user"})
        for batch in (True, None, True):
            await line.auth("ada", batch=batch)
            start = len(line.heard)
            await w.create()
            while "taskCompleted" not in str(await line.hear()):
                pass
            told = {message["type"] for message in line.heard[start:]}
            assert told == {"taskBatch"} if batch else "taskBatch" not in told


@pytest.mark.gen_test(timeout=60)
async def test_token_expiring_and_renewal(world: StartWorld) -> None:
    """A token that ends soon is announced; a second auth renews it; without one the line ends with 4419."""
    async with world() as w:
        renewed, left = await w.line(), await w.line()
        for line in (renewed, left):
            answer = await line.auth("ada", lives_s=2)
            expiring = payload_of(await line.hear_until("tokenExpiring"), "tokenExpiring")
            assert expiring == {"expiresAt": answer["payload"]["expiresAt"]}
        answer = await renewed.auth("ada", lives_s=3600)
        assert answer["payload"]["expiresAt"] > expiring["expiresAt"]
        error = payload_of(await left.hear_until("error"), "error")
        assert error["code"] == "TOKEN_EXPIRED"
        assert await left.closed() == 4419
        await renewed.silence()
