"""`/metrics`: who may read it, and that what is told there is so."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tornado.httpclient import HTTPResponse

from sora_ws.metrics import FIGURES, REDIS_UP, RELAY_DROPPED, RELAY_READ, RELAYED_IN, RELAYED_OUT
from tests.backends.jobs import Dialect
from tests.e2e.world import World, a_world, logged

TOKEN = "a token of the monitor"
OF_INSTANCES = {REDIS_UP, RELAYED_OUT, RELAYED_IN, RELAY_DROPPED, RELAY_READ}
"""Absent without REDIS_URL; tests/e2e/test_instances.py reads them."""


def samples(answer: HTTPResponse) -> dict[str, float]:
    """`name{label value, …}` → value."""
    assert answer.code == 200, answer.body
    families = text_string_to_metric_families(answer.body.decode())
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in families
        for sample in family.samples
    }


async def read(w: World, **headers: str) -> HTTPResponse:
    return await w.request("GET", "/metrics", user=None, **headers)


@pytest.mark.gen_test(timeout=30)
async def test_every_figure_is_there(tmp_path: Path) -> None:
    """Each by the name, the kind and the words of its definition."""
    async with a_world(tmp_path) as w:
        await w.create()
        line = await w.line("ada")
        await line.socket.close()
        families = {
            family.name: (family.type, family.documentation)
            for family in text_string_to_metric_families((await read(w)).body.decode())
        }
    for figure in set(FIGURES) - OF_INSTANCES:
        name = figure.name.removesuffix("_total") if figure.kind == "counter" else figure.name
        assert families.pop(name) == (figure.kind, figure.about)
    assert all(name.startswith("process_") for name in families)


@pytest.mark.gen_test(timeout=30)
async def test_figures_are_what_happened(tmp_path: Path) -> None:
    """Calls by outcome, live tasks by state, connections and their close codes."""
    async with a_world(tmp_path, Dialect(looks=None, creates="held")) as w:
        line = await w.line("ada")
        other = await w.line()
        await other.say("auth", {"token": "wrong"})
        assert await other.closed() == 4401
        for prompt in ("one", "two"):
            await w.create(prompt)
        await w.provider.create_is_held.wait()
        found = samples(await read(w))
        assert found["sora_ws_tasks_live{submitting}"] == 2
        assert found["sora_ws_connections{}"] == 1
        assert found["sora_ws_connections_authenticated{}"] == 1
        assert found["sora_ws_connections_closed_total{4401}"] == 1
        assert found["sora_ws_messages_sent_total{}"] >= 1
        assert found["sora_ws_store_up{}"] == 1
        assert found["sora_ws_store_call_seconds_count{insert}"] == 2
        assert found["sora_ws_provider_breaker_open{}"] == 0

        await line.say("subscribe_room", {"room": "user"})
        w.provider.let_creates_go.set()
        for _ in range(2):
            await line.hear_until("taskProgress", currentStep="rendering")
        found = samples(await read(w))
        assert found["sora_ws_provider_calls_total{create,answered}"] == 2
        assert found["sora_ws_provider_calls_total{look,answered}"] >= 2
        assert found["sora_ws_tasks_live{rendering}"] == 2
        assert "sora_ws_tasks_live{submitting}" not in found


@pytest.mark.gen_test(timeout=30)
async def test_trouble_shows(tmp_path: Path) -> None:
    """A refused key and a limit, by the gauges that an alarm is set on."""
    async with a_world(tmp_path, Dialect(looks=None)) as w:
        await w.create()
        line = await w.line("ada")
        await line.say("subscribe_room", {"room": "user"})
        await line.hear_until("taskProgress", currentStep="rendering")
        wanted = logged("sora_ws.provider.limiter", "SORA_API_KEY")
        w.provider.jobs.dialect.key = "another"
        await wanted.wait()
        found = samples(await read(w))
        assert found["sora_ws_provider_needs_operator{}"] == 1
        assert found["sora_ws_provider_calls_total{look,operator}"] >= 1
        w.provider.jobs.dialect.key = None
        w.provider.jobs.dialect.limit = {"Retry-After": "60"}
        while (found := samples(await read(w)))["sora_ws_provider_held_seconds{}"] < 30:
            pass
        assert found["sora_ws_provider_breaker_open{}"] == 1
        assert found["sora_ws_provider_calls_total{look,limited}"] == 1


@pytest.mark.gen_test(timeout=30)
async def test_without_a_token_only_this_machine_reads(tmp_path: Path) -> None:
    """Whom a proxy brings from elsewhere is refused."""
    async with a_world(tmp_path) as w:
        assert (await read(w)).code == 200
        assert (await read(w, X_Real_IP="127.0.0.1")).code == 200
        assert (await read(w, X_Real_IP="192.0.2.7")).code == 403
        assert (await read(w, X_Forwarded_For="192.0.2.7, 127.0.0.1")).code == 403


@pytest.mark.gen_test(timeout=30)
async def test_with_a_token_only_who_knows_it_reads(tmp_path: Path) -> None:
    """From wherever; a user's token is another one."""
    async with a_world(tmp_path, METRICS_TOKEN=TOKEN) as w:
        found = await read(w, Authorization=f"Bearer {TOKEN}", X_Real_IP="192.0.2.7")
        assert found.code == 200
        for wrong in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Bearer ü"}):
            refused = await read(w, **wrong)
            assert (refused.code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await w.request("GET", "/metrics", user="ada")).code == 401
