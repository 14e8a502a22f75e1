"""The archived videos: whole, in parts, and only by their links."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from tests.rest.server import Answer, RestServer

FILM = bytes(range(256)) * 4_000


async def linked(rest: RestServer) -> tuple[str, str]:
    """The id of a completed task, and the path of its video's link."""
    task = await rest.completed(content=FILM)
    link = urlsplit(rest.links.video(task.id))
    return task.id, f"{link.path}?{link.query}"


async def get(rest: RestServer, path: str, method: str = "GET", **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await rest.call(method, path, user=None, headers=sent)


@pytest.mark.gen_test
async def test_link_is_permission_enough(rest: RestServer) -> None:
    """Who has the link gets the video, without a token, and the picture by its own link."""
    video_id, path = await linked(rest)
    answer = await get(rest, path)
    assert (answer.status, answer.body) == (200, FILM)
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Length"] == str(len(FILM))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "Content-Disposition" not in answer.headers
    picture = urlsplit(rest.links.thumbnail(video_id))
    shown = await get(rest, f"{picture.path}?{picture.query}")
    assert (shown.status, shown.headers["Content-Type"], shown.body) == (200, "image/jpeg", b"picture")


@pytest.mark.gen_test
async def test_wrong_link_is_like_a_missing_video(rest: RestServer) -> None:
    """A wrong signature, another file's, none, and a video that is gone are one and the same 404."""
    video_id, path = await linked(rest)
    picture = urlsplit(rest.links.thumbnail(video_id)).query
    gone = urlsplit(rest.links.video("video_" + "0" * 32))
    answers = [
        await get(rest, wrong)
        for wrong in (
            path[:-1] + ("A" if path[-1] != "A" else "Q"),
            path.partition("?")[0],
            f"/media/{video_id}.mp4?{picture}",
            f"/media/{video_id}.mp4?sig=%C3%A4",
            f"{gone.path}?{gone.query}",
            "/media/..%2f..%2fetc%2fpasswd.mp4?sig=x",
        )
    ]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1


END = len(FILM) - 1
PARTS = [
    ("bytes=0-0", 0, 0),
    ("bytes=0-", 0, END),
    ("bytes=100-199", 100, 199),
    ("bytes=300000-", 300_000, END),
    ("bytes=-1", END, END),
    ("bytes=-500", END - 499, END),
    ("bytes=-99999999999", 0, END),
    ("bytes=1000-99999999999", 1000, END),
]


@pytest.mark.parametrize(("wanted", "first", "last"), PARTS)
@pytest.mark.gen_test
async def test_part_of_a_video(rest: RestServer, wanted: str, first: int, last: int) -> None:
    """206 with exactly the bytes that were wanted: RFC 9110 section 14."""
    _, path = await linked(rest)
    answer = await get(rest, path, Range=wanted)
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(FILM)}"
    assert answer.body == FILM[first : last + 1]


NO_PARTS = ["", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=0-1,5-6", "items=0-1", "bytes=--1", "x"]


@pytest.mark.parametrize("wanted", [*NO_PARTS, "bytes=" + "9" * 5000 + "-"])
@pytest.mark.gen_test
async def test_no_part_is_the_whole(rest: RestServer, wanted: str) -> None:
    """A Range that means nothing, or several parts, is passed over."""
    _, path = await linked(rest)
    answer = await get(rest, path, Range=wanted)
    assert (answer.status, answer.body) == (200, FILM)


@pytest.mark.parametrize("wanted", [f"bytes={len(FILM)}-", "bytes=99999999999-", "bytes=-0"])
@pytest.mark.gen_test
async def test_part_beyond_the_end(rest: RestServer, wanted: str) -> None:
    """416 tells how much there is."""
    _, path = await linked(rest)
    answer = await get(rest, path, Range=wanted)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(FILM)}"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.gen_test
async def test_held_video_is_not_sent_again(rest: RestServer) -> None:
    """With its ETag it is 304; If-Range gives the part to who holds this video, the whole to others."""
    _, path = await linked(rest)
    etag = (await get(rest, path)).headers["ETag"]
    held = await get(rest, path, If_None_Match=etag)
    assert (held.status, held.body) == (304, b"")
    assert (await get(rest, path, Range="bytes=0-9", If_Range=etag)).body == FILM[:10]
    for other in ('"other"', "Tue, 24 Nov 2026 10:00:00 GMT"):
        assert (await get(rest, path, Range="bytes=0-9", If_Range=other)).status == 200


@pytest.mark.gen_test
async def test_head_tells_the_length(rest: RestServer) -> None:
    """HEAD has the headers of the whole video, whatever part is asked for."""
    _, path = await linked(rest)
    for headers in ({}, {"Range": "bytes=0-9"}):
        answer = await get(rest, path, "HEAD", **headers)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Length"] == str(len(FILM))


@pytest.mark.gen_test
async def test_download_has_a_name(rest: RestServer) -> None:
    """`download=1` makes browsers keep it as a file."""
    video_id, path = await linked(rest)
    answer = await get(rest, f"{path}&download=1")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{video_id}.mp4"'
    assert re.fullmatch(r"video_[0-9a-f]{32}", video_id)


@pytest.mark.gen_test
async def test_player_that_hangs_up_harms_nobody(rest: RestServer, caplog: pytest.LogCaptureFixture) -> None:
    """A line that breaks in the middle of a video is no error, and the server goes on."""
    task = await rest.completed(content=bytes(20_000_000))
    link = urlsplit(rest.links.video(task.id))
    await rest.hang_up_after(f"GET {link.path}?{link.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 100_000)
    assert (await get(rest, "/healthz")).status == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
