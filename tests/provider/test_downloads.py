"""Finished videos over real sockets: from wherever they are, and never what is none."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pytest

from sora_ws.provider import NoContent, Unavailable
from sora_ws.provider.downloads import is_video
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.task import Event, Order
from tests.backends.dialects import DialectServer
from tests.backends.film import film
from tests.backends.jobs import Dialect
from tests.provider.conftest import MakeClient

KEY = "sk-0123456789abcdef"
PLENTY = 10_000_000
DEAD_URL = "http://127.0.0.1:9/x.mp4"
SILENT_AVI = b"RIFF\x00\x00\x00\x00AVI LIST"


async def finished(client: OpenAIVideos) -> tuple[str, Sequence[str]]:
    """A job that has ended, and the urls that its last look showed."""
    job = await client.create(Order("a cat", "sora-2"), None)
    while True:
        seen = await client.look(job.id)
        if seen.event is Event.FINISHED:
            return job.id, seen.urls


@pytest.mark.gen_test(timeout=30)
async def test_the_content_call(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """The video is written over what the file held; no variant is ever asked for."""
    target = tmp_path / "video.mp4"
    target.write_bytes(bytes(100_000))
    client = client_of(backend.base_url)
    job_id, urls = await finished(client)
    await client.download(job_id, urls, target, PLENTY)
    assert target.read_bytes() == film()
    assert backend.requests[-1].path.endswith(f"/{job_id}/content")
    assert backend.requests[-1].query == ""


@pytest.mark.gen_test(timeout=30)
async def test_exactly_as_big_as_allowed(
    backend: DialectServer, client_of: MakeClient, tmp_path: Path
) -> None:
    """The limit is the size that still may be; one byte more is none that is kept."""
    client = client_of(backend.base_url)
    job_id, urls = await finished(client)
    await client.download(job_id, urls, tmp_path / "a.mp4", len(film()))
    with pytest.raises(NoContent, match="more than"):
        await client.download(job_id, urls, tmp_path / "b.mp4", len(film()) - 1)


@pytest.mark.gen_test(timeout=30)
async def test_a_body_without_an_end(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """A body that never ends is broken off at the limit, and no other place is asked."""
    backend.jobs.dialect = Dialect(content="endless")
    client = client_of(backend.base_url)
    job_id, _ = await finished(client)
    target = tmp_path / "video.mp4"
    with pytest.raises(NoContent, match="more than"):
        await client.download(job_id, [backend.jobs.film_url], target, 1_000_000)
    assert target.stat().st_size <= 1_000_000
    assert backend.requests_elsewhere == []


@pytest.mark.gen_test(timeout=30)
async def test_a_redirect_to_another_origin(
    backend: DialectServer, client_of: MakeClient, tmp_path: Path
) -> None:
    """A redirect to another port is followed without the key."""
    backend.jobs.dialect = Dialect(content="redirect", key=KEY)
    client = client_of(backend.base_url, KEY)
    job_id, urls = await finished(client)
    await client.download(job_id, urls, tmp_path / "video.mp4", PLENTY)
    assert (tmp_path / "video.mp4").read_bytes() == film()
    assert backend.requests[-1].headers["Authorization"] == f"Bearer {KEY}"
    assert ["Authorization" in request.headers for request in backend.requests_elsewhere] == [False]


@pytest.mark.gen_test(timeout=30)
async def test_the_url_where_there_is_no_content_call(
    backend: DialectServer, client_of: MakeClient, tmp_path: Path
) -> None:
    """Where the content call leads nowhere the observation's url does, without the key."""
    backend.jobs.dialect = Dialect(content="url", key=KEY)
    client = client_of(backend.base_url, KEY)
    job_id, urls = await finished(client)
    assert list(urls) == [backend.jobs.film_url]
    await client.download(job_id, urls, tmp_path / "video.mp4", PLENTY)
    assert (tmp_path / "video.mp4").read_bytes() == film()
    assert ["Authorization" in request.headers for request in backend.requests_elsewhere] == [False]


@pytest.mark.gen_test(timeout=30)
async def test_urls_are_tried_in_order(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """One address that is dead, and one that is none, don't keep the next one from being tried."""
    backend.jobs.dialect = Dialect(content="none")
    client = client_of(backend.base_url)
    job_id, _ = await finished(client)
    urls = [DEAD_URL, "ftp://127.0.0.1/x", "data:video/mp4;base64,AAAA", backend.jobs.film_url]
    await client.download(job_id, urls, tmp_path / "video.mp4", PLENTY)
    assert (tmp_path / "video.mp4").read_bytes() == film()


@pytest.mark.gen_test(timeout=30)
async def test_a_url_of_the_backend_itself_gets_the_key(
    backend: DialectServer, client_of: MakeClient, tmp_path: Path
) -> None:
    """An address of the backend's own origin is asked with the key, as it needs it."""
    client = client_of(backend.base_url, KEY)
    good, _ = await finished(client)
    backend.jobs.dialect = Dialect(key=KEY)
    await client.download("gone", [f"{backend.base_url}/videos/{good}/content"], tmp_path / "v", PLENTY)
    assert (tmp_path / "v").read_bytes() == film()


@pytest.mark.gen_test(timeout=30)
async def test_a_data_url(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """A video inside its own url is a video like any other, and has the same limit."""
    client = client_of(backend.base_url)
    url = f"data:video/mp4;base64,{b64encode(film()).decode()}"
    await client.download("gone", [url], tmp_path / "video.mp4", PLENTY)
    assert (tmp_path / "video.mp4").read_bytes() == film()
    with pytest.raises(NoContent, match="more than"):
        await client.download("gone", [url], tmp_path / "video.mp4", 100)
    with pytest.raises(NoContent, match="not base64"):
        await client.download("gone", ["data:video/mp4;base64,A"], tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("content", ["none", "as json"])
async def test_completed_is_not_a_promise(
    backend: DialectServer, client_of: MakeClient, tmp_path: Path, content: str
) -> None:
    """An error, or JSON under the name of a video, is no content."""
    backend.jobs.dialect = Dialect(content=content)  # type: ignore[arg-type]
    client = client_of(backend.base_url)
    job_id, urls = await finished(client)
    with pytest.raises(NoContent, match="HTTP"):
        await client.download(job_id, urls, tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=30)
async def test_content_that_comes_late(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """No content now may be content at the next try."""
    backend.jobs.dialect = Dialect(content="late")
    client = client_of(backend.base_url)
    job_id, urls = await finished(client)
    with pytest.raises(NoContent):
        await client.download(job_id, urls, tmp_path / "video.mp4", PLENTY)
    await client.download(job_id, urls, tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=30)
async def test_a_body_that_breaks_off(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """Half a video is none, and nobody's fault."""
    backend.jobs.dialect = Dialect(content="reset")
    client = client_of(backend.base_url)
    job_id, urls = await finished(client)
    with pytest.raises(Unavailable):
        await client.download(job_id, urls, tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=30)
async def test_a_body_that_stalls(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """A download may last, but a trickle ends it."""
    backend.jobs.dialect = Dialect(drips="content")
    client = client_of(backend.base_url, stall_timeout_s=1)
    job_id, urls = await finished(client)
    with pytest.raises(Unavailable):
        await client.download(job_id, urls, tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=30)
async def test_the_wrong_key(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """A key that is refused is the operator's matter, also for a download."""
    backend.jobs.dialect = Dialect(key=KEY)
    with pytest.raises(Unavailable) as caught:
        await client_of(backend.base_url).download("video_1", [], tmp_path / "video.mp4", PLENTY)
    assert caught.value.is_configuration


@pytest.mark.gen_test(timeout=30)
async def test_a_redirect_in_a_circle(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """Redirects are followed only so far."""
    origin = backend.base_url.removesuffix("/v1")
    with pytest.raises(NoContent, match="too often"):
        await client_of(f"{origin}/circle").download("video_1", [], tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=30)
async def test_no_room_on_the_disk(backend: DialectServer, client_of: MakeClient) -> None:
    """What the disk says is handed on as it is."""
    client = client_of(backend.base_url)
    job_id, urls = await finished(client)
    with pytest.raises(OSError, match="No space left"):
        await client.download(job_id, urls, Path("/dev/full"), PLENTY)


@pytest.mark.gen_test(timeout=30)
async def test_a_folder_that_is_gone(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """So is a place that can't be written to at all."""
    client = client_of(backend.base_url)
    job_id, urls = await finished(client)
    with pytest.raises(FileNotFoundError):
        await client.download(job_id, urls, tmp_path / "gone" / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=30)
async def test_a_download_that_nobody_waits_for(
    backend: DialectServer, client_of: MakeClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled download writes nothing more, and its connection ends without a noise."""
    backend.jobs.dialect = Dialect(content="endless")
    client = client_of(backend.base_url)
    job_id, urls = await finished(client)
    target = tmp_path / "video.mp4"
    download = asyncio.ensure_future(client.download(job_id, urls, target, 10**12))
    await backend.under_way.wait()
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
    size = target.stat().st_size
    await backend.gave_up.wait()
    assert target.stat().st_size == size
    assert caplog.records == []


@pytest.mark.gen_test(timeout=30)
async def test_no_way_into_our_network(
    backend: DialectServer, client_of: MakeClient, dead_port: int, tmp_path: Path
) -> None:
    """A url that leads to a private address isn't asked unless the backend is known to live there."""
    client = client_of(f"http://127.0.0.1:{dead_port}/v1")
    with pytest.raises(Unavailable):
        await client.download("video_1", [backend.jobs.film_url], tmp_path / "video.mp4", PLENTY)
    assert backend.requests_elsewhere == []


def test_what_a_video_begins_with() -> None:
    """MP4, AVI and WebM are told by their first bytes, whatever the answer calls them."""
    assert is_video(film()[:12])
    assert is_video(SILENT_AVI[:12])
    assert is_video(b"\x1aE\xdf\xa3" + bytes(8))
    for other in (b"", b"{}", b"<!doctype html>", b"RIFF\x00\x00\x00\x00WEBP", b"\x89PNG\r\n\x1a\n----"):
        assert not is_video(other[:12])
