"""What REDIS_URL may say, and that nothing of a password gets out."""

from __future__ import annotations

import pytest

from sora_ws.bus.redis_url import Address, RedisUrl
from sora_ws.settings import Settings, WrongSetting

SHARED = {
    "DATABASE_URL": "mongodb://db/sora_ws",
    "SORA_API_BASE_URL": "https://api.example.com/v1",
    "MEDIA_STORE": "gridfs",
}
ONE = Address("redis.example", 6379)
URLS = {
    "redis://redis.example": RedisUrl((ONE,)),
    "redis://redis.example:6380/3": RedisUrl((Address("redis.example", 6380),)),
    "redis://[2001:db8::1]:6380": RedisUrl((Address("2001:db8::1", 6380),)),
    "rediss://me:p%40ss%2F@redis.example": RedisUrl((ONE,), tls=True, user="me", password="p@ss/"),
    "redis://:secret@redis.example/": RedisUrl((ONE,), password="secret"),
    "redis+sentinel://a,b:1/the%20master/0": RedisUrl(
        (Address("a", 26379), Address("b", 1)), master="the master"
    ),
    "rediss+cluster://a:1,b:2": RedisUrl((Address("a", 1), Address("b", 2)), is_cluster=True, tls=True),
}
WRONG = (
    "redis.example:6379",
    "http://redis.example",
    "redis://",
    "redis://a,b",
    "redis://a:0",
    "redis://a:99999",
    "redis://a/database",
    "redis://a?password=hunter2",
    "redis://a#hunter2",
    "redis://me:hunter2@home@a",
    "redis+sentinel://a:1",
    "redis+sentinel://a:1/m/x",
    "redis+cluster://a/m/0",
    "unix:///redis.sock",
)


@pytest.mark.parametrize(("text", "url"), URLS.items(), ids=URLS)
def test_what_it_may_say(text: str, url: RedisUrl) -> None:
    """One server, Sentinels with the name of a master, some nodes of a Cluster."""
    assert RedisUrl.parse(text) == url
    assert Settings.load(SHARED | {"REDIS_URL": text, "HOME": "/nowhere"})[0].redis_url == url


@pytest.mark.parametrize("text", WRONG)
def test_what_it_may_not_say(text: str) -> None:
    """Everything else is refused by its name, and not quoted."""
    with pytest.raises(WrongSetting, match=r"^REDIS_URL: write redis://HOST") as refused:
        Settings.load(SHARED | {"REDIS_URL": text, "HOME": "/nowhere"})
    assert "hunter2" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    """Not by the URL as text, and not by the settings that hold it."""
    settings, _ = Settings.load(SHARED | {"REDIS_URL": "redis://me:hunter2@a", "HOME": "/nowhere"})
    assert "hunter2" not in f"{settings} {settings.redis_url}"


@pytest.mark.parametrize("missing", SHARED)
def test_it_needs_what_instances_share(missing: str) -> None:
    """A file of SQLite, the built-in simulator and a folder of videos are one instance's own."""
    rest = {name: value for name, value in SHARED.items() if name != missing}
    with pytest.raises(WrongSetting, match=f"^REDIS_URL is for instances that share .* set {missing}"):
        Settings.load(rest | {"REDIS_URL": "redis://a", "HOME": "/nowhere"})
