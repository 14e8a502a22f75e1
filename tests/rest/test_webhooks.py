"""What the provider sends to `/webhooks/sora`: who is believed, and how little comes of it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from standardwebhooks import Webhook

from sora_ws.settings import Secret, Settings
from sora_ws.store import StoreUnavailable
from tests.rest.server import Answer, RestServer

OLD: Final = "whsec_" + base64.b64encode(b"an old secret of the provider").decode()
SECRET: Final = "whsec_" + base64.b64encode(b"a secret of the provider").decode()
STRANGERS: Final = "whsec_" + base64.b64encode(b"a secret of somebody else").decode()
BODY: Final = json.dumps(
    {"id": "evt_1", "object": "event", "type": "video.completed", "data": {"id": "job_1"}}
).encode()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path, message_language="en", sora_webhook_secret=(Secret(OLD), Secret(SECRET))
    )


def signed(body: bytes = BODY, *, id_: str = "msg_1", ago_s: int = 0, secret: str = SECRET) -> dict[str, str]:
    """The headers, as the library of the standard makes them."""
    at = int(time.time()) - ago_s
    signature = Webhook(secret).sign(id_, datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": id_, "webhook-timestamp": str(at), "webhook-signature": signature}


async def post(rest: RestServer, headers: dict[str, str], body: bytes = BODY) -> Answer:
    sent = {"Content-Type": "application/json"} | headers
    return await rest.call("POST", "/webhooks/sora", body, user=None, headers=sent)


@pytest.mark.gen_test
@pytest.mark.parametrize("secret", [OLD, SECRET])
async def test_word_of_a_job(rest: RestServer, secret: str) -> None:
    """Signed by one of the secrets, it leads to a look."""
    answer = await post(rest, signed(secret=secret))
    assert (answer.status, answer.body) == (204, b"")
    assert rest.looked_at == ["job_1"]


@pytest.mark.gen_test
async def test_replayed_a_hundred_times_at_once(rest: RestServer) -> None:
    """One look, and the same answer each time."""
    headers = signed()
    answers = await asyncio.gather(*(post(rest, headers) for _ in range(100)))
    assert {(answer.status, answer.body) for answer in answers} == {(204, b"")}
    assert rest.looked_at == ["job_1"]
    await post(rest, signed(id_="msg_2"))
    assert rest.looked_at == ["job_1", "job_1"]


NOT_BELIEVED: Final[dict[str, dict[str, str]]] = {
    "of a stranger": signed(secret=STRANGERS),
    "of another body": signed(b'{"data": {"id": "job_2"}}'),
    "under another id": signed() | {"webhook-id": "msg_2"},
    "of another time": signed() | {"webhook-timestamp": str(int(time.time()) - 60)},
    "nothing": {},
    "no signature": {name: value for name, value in signed().items() if name != "webhook-signature"},
    "no id": {name: value for name, value in signed().items() if name != "webhook-id"},
    "an empty one": signed() | {"webhook-signature": ""},
    "of another version": signed() | {"webhook-signature": signed()["webhook-signature"].replace("v1", "v2")},
    "no comma": signed() | {"webhook-signature": "v1"},
    "too many commas": signed() | {"webhook-signature": "v1,a,b"},
    "no base64": signed() | {"webhook-signature": "v1,é"},
    "half of it": signed() | {"webhook-signature": signed()["webhook-signature"][:-9]},
    "no time": signed() | {"webhook-timestamp": "now"},
    "nan": signed() | {"webhook-timestamp": "nan"},
    "a time beyond all": signed() | {"webhook-timestamp": "1e300"},
}


@pytest.mark.gen_test
@pytest.mark.parametrize("headers", NOT_BELIEVED.values(), ids=NOT_BELIEVED.keys())
async def test_a_wrong_signature(rest: RestServer, headers: dict[str, str]) -> None:
    """403 whatever is wrong with it, and nothing happens."""
    answer = await post(rest, headers)
    assert answer.status == 403
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert rest.looked_at == []


@pytest.mark.gen_test
@pytest.mark.parametrize("ago_s", [310, -310, 86_400])
async def test_an_old_message(rest: RestServer, ago_s: int) -> None:
    """More than five minutes old, or ahead: 403, though the signature fits."""
    answer = await post(rest, signed(ago_s=ago_s))
    assert answer.status == 403
    assert "timestamp" in answer.json["detail"]
    assert rest.looked_at == []


@pytest.mark.gen_test
@pytest.mark.parametrize("ago_s", [280, -280])
async def test_clocks_that_differ(rest: RestServer, ago_s: int) -> None:
    """By less than five minutes: it is taken."""
    assert (await post(rest, signed(ago_s=ago_s))).status == 204
    assert rest.looked_at == ["job_1"]


TOLD_OF_NOTHING: Final[list[Any]] = [
    {},
    [],
    "job_1",
    {"data": None},
    {"data": {}},
    {"data": {"id": 7}},
    {"data": ["job_1"]},
]


@pytest.mark.gen_test
@pytest.mark.parametrize("document", TOLD_OF_NOTHING)
async def test_a_message_of_no_job(rest: RestServer, document: Any) -> None:
    """Other events of the provider: the same answer."""
    body = json.dumps(document).encode()
    answer = await post(rest, signed(body), body)
    assert (answer.status, answer.body) == (204, b"")
    assert rest.looked_at == []


@pytest.mark.gen_test
async def test_bytes_that_are_no_text(rest: RestServer) -> None:
    """Nobody can have signed them."""
    assert (await post(rest, signed(), b"\xff\xfe")).status == 403


@pytest.mark.gen_test
async def test_the_store_is_away(rest: RestServer) -> None:
    """503, so that it is sent again; and then it is no replay."""
    rest.look_trouble = StoreUnavailable("away")
    headers = signed()
    answer = await post(rest, headers)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    rest.look_trouble = None
    assert (await post(rest, headers)).status == 204
    assert rest.looked_at == ["job_1"]


@pytest.mark.gen_test
async def test_a_body_that_is_too_big(rest: RestServer) -> None:
    """413 beyond 64 KiB, before anything is checked."""
    body = json.dumps({"data": {"id": "x" * 65_536}}).encode()
    assert (await post(rest, signed(body), body)).status == 413


class TestWithoutASecret:
    """SORA_WEBHOOK_SECRET is not set."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(state_dir=tmp_path, message_language="en")

    @pytest.mark.gen_test
    async def test_the_address_is_closed(self, rest: RestServer) -> None:
        """404, and what to set."""
        answer = await post(rest, signed())
        assert answer.status == 404
        assert "SORA_WEBHOOK_SECRET" in answer.json["detail"]
