"""Several instances, hurt in every way at once, and one that is paused at the wrong moment."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt

from tests.history.instances import hurt_all_at_once
from tests.history.journal import read
from tests.history.namespaces import Machine
from tests.history.run import SECRET, a_run, until
from tests.mongod import Mongod
from tests.redisd import Redisd, redis
from tests.server import Answer, Server

__all__ = ["redis"]

SECONDS = 15.0  # `python -m tests.history.instances` takes ten minutes
SEED = 24  # with it so short a time has one of most kinds
UNDER_WAY_MS = 15_000  # for an insert: so that the term of who sent it is over by then


def test_everything_at_once(tmp_path: Path) -> None:
    """Instances, Redis and the database die, hang and come back, and every promise is kept."""
    violations, faults = hurt_all_at_once(tmp_path, SECONDS, SEED)
    assert violations == []
    assert {"cut off from redis", "kill instance", "kill primary", "pause instance"} <= {*faults}, faults


def test_a_pause_with_an_insert_under_way(tmp_path: Path, mongod: Mongod, redis: Redisd) -> None:
    """Who was paused past its term gives no place that another has given meanwhile."""
    settings = {
        "DATABASE_URL": mongod.url("paused"),
        "REDIS_URL": redis.url,
        "MEDIA_STORE": "gridfs",
        "SORA_MAX_IN_FLIGHT": "1",
        "SORA_POLL_INTERVAL": "3600000",  # no look, so no job is over
        "SORA_POLL_MIN_INTERVAL": "3600000",
    }
    two = (Machine(), Machine())
    with a_run(tmp_path, settings, machines=two, started=False) as run, ThreadPoolExecutor(1) as hand:
        paused, other = [server.start() for server in run.servers]
        assert paused.process is not None
        with mongod.told_to_fail("update", blockConnection=True, blockTimeMS=UNDER_WAY_MS):
            late = hand.submit(create, paused)
            until(lambda: is_writing(mongod))
            paused.process.send_signal(signal.SIGSTOP)
        assert create(other).status == 202
        until(lambda: jobs(tmp_path) == 1)
        until(lambda: not is_writing(mongod))
        paused.process.send_signal(signal.SIGCONT)
        assert late.result().status == 503
        with mongod.client() as client:
            assert client["paused"].tasks.count_documents({"place": "provider"}) == 1


def create(server: Server) -> Answer:
    token = jwt.encode({"sub": "ada", "exp": int(time.time()) + 3600}, SECRET, "HS256")
    return server.request("POST", "/api/videos", {"prompt": "a cat"}, token=token)


def is_writing(mongod: Mongod) -> bool:
    """Whether a server's update is under way."""
    with mongod.client() as client:
        ops = client.admin.aggregate([{"$currentOp": {}}, {"$match": {"appName": "sora-ws"}}])
        return any("update" in op["command"] for op in ops)


def jobs(folder: Path) -> int:
    """How many were made at the provider."""
    return sum(event["what"] == "job" for event in read(folder / "provider"))
