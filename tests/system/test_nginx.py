"""The files of conf/ in a real Nginx, in front of real servers; their ports and paths alone are replaced."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.ports import USUAL_PORT, free_port
from tests.server import Server
from tests.services import missing
from tests.system.debian import CHECKOUT

FRAME = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


@dataclass
class Site:
    """The server as it looks from in front of Nginx."""

    port: int
    access_log: Path
    token: str = ""

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
        """Status, headers and body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        sent = {"Content-Type": "application/json"} | bearer | headers
        try:
            with urlopen(Request(self.url(path), data, sent), timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except HTTPError as error:
            return error.code, error.headers, error.read()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def line(self, source: str = "127.0.0.1") -> ClientConnection:
        """A WebSocket from the address."""
        return connect(f"ws://127.0.0.1:{self.port}/ws", source_address=(source, 0))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one that answers."""
    server = Server(tmp_path_factory.mktemp("server") / "state", {"MAX_CONNECTIONS_PER_ADDRESS": "1"})
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module", params=["nginx.conf", "nginx-cluster.conf"])
def site(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Nginx in front of the server, by each file; by the second, the other instance is away."""
    with in_front_of(server, request.param, free_port(), tmp_path_factory.mktemp("nginx")) as site:
        yield site


@contextmanager
def in_front_of(server: Server, conf: str, other: int, folder: Path) -> Iterator[Site]:
    """Nginx with this file of conf/, and admin signed in through it. `other` is a second instance's port."""
    with nginx_of(conf, folder, [server.port, other]) as site:
        _, _, answer = site.ask("/api/auth/login", {"username": "admin", "password": server.password})
        site.token = json.loads(answer)["token"]
        yield site


@contextmanager
def nginx_of(conf: str, folder: Path, upstreams: Sequence[int]) -> Iterator[Site]:
    """Nginx with this file of conf/, in front of these ports.

    It takes a socket of ours over as from its own older self when it is updated. So the port is ours
    all the time, and connections wait in it until Nginx is there.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin") or missing("no nginx here")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(listener.getsockname()[1], folder / "access.log")
        configuration = folder / "nginx.conf"
        configuration.write_text(configured(conf, folder, site.port, upstreams))
        environ = os.environ | {"NGINX": f"{listener.fileno()};"}
        process = subprocess.Popen([nginx, "-c", configuration], env=environ, pass_fds=[listener.fileno()])
        try:
            yield site
        finally:
            process.terminate()
            process.wait(30)


def configured(conf: str, folder: Path, listen: int, upstreams: Sequence[int]) -> str:
    """A whole configuration around a file of conf/."""
    site = (CHECKOUT / "conf" / conf).read_text()
    site = site.replace("    listen [::]:80;\n", "").replace("listen 80;", f"listen 127.0.0.1:{listen};")
    for usual, port in enumerate(upstreams, USUAL_PORT):
        site = site.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{port}")
    site = site.replace("/var/log/nginx/sora-ws.log", f"{folder}/access.log")
    # A worker of another user could not write to the test's folder.
    return FRAME.format(folder=folder, site=site, user="user root;" if os.geteuid() == 0 else "")


def test_video_through_nginx(site: Site) -> None:
    """REST, the WebSocket's pushes and the file itself all come through, the file in parts too."""
    status, _, answer = site.ask("/api/videos", {"prompt": "a kite over the sea"})
    assert status == 202
    video = json.loads(answer)["videoId"]

    with site.line() as line:
        line.send(json.dumps({"type": "auth", "payload": {"token": site.token}}))
        line.send(json.dumps({"type": "subscribe_task", "payload": {"videoId": video}}))
        pushed: dict[str, Any] = {}
        while pushed.get("type") != "taskCompleted":
            pushed = json.loads(line.recv(timeout=60))

    path = re.sub(r"^https?://[^/]+", "", pushed["payload"]["result"]["videoUrl"])
    status, headers, whole = site.ask(path)
    assert (status, headers["Content-Type"]) == (200, "video/mp4")
    assert len(whole) == pushed["payload"]["result"]["fileSize"]

    status, headers, part = site.ask(path, Range="bytes=100-299")
    assert (status, headers["Content-Range"]) == (206, f"bytes 100-299/{len(whole)}")
    assert part == whole[100:300]


def test_events_come_through_nginx_at_once(site: Site) -> None:
    """It keeps none of them until it has more: the first is there while nothing else happens."""
    _, _, answer = site.ask("/api/videos", {"prompt": "[slow] a kite"})
    path = f"/api/videos/{json.loads(answer)['videoId']}"
    with urlopen(site.url(f"{path}/events?access_token={site.token}"), timeout=20) as events:
        lines = iter(events.readline, b"")
        first = json.loads(next(line for line in lines if line.startswith(b"data: ")).removeprefix(b"data: "))
        assert first["type"] == "taskProgress"
        site.ask(f"{path}/cancel", {})
        last = [line for line in lines if line.startswith(b"data: ")][-1]
    assert json.loads(last.removeprefix(b"data: "))["type"] == "taskFailed"


def test_page_comes_through_nginx(site: Site) -> None:
    """The page stands at / there too."""
    status, headers, _ = site.ask("/")
    assert (status, headers.get_content_type()) == (200, "text/html")


def test_page_of_the_same_name_may_connect(site: Site) -> None:
    """Nginx passes the name that the browser used, so the page's own origin is recognised, no other is."""
    address = f"ws://127.0.0.1:{site.port}/ws"
    with connect(address, origin=Origin(f"http://127.0.0.1:{site.port}")):
        pass
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin=Origin("http://evil.example.com"))
    assert refused.value.response.status_code == 403


def test_connections_count_for_the_address_in_front(site: Site) -> None:
    """X-Real-IP is believed: a limit by address is one for each visitor, not one for all of Nginx."""
    with site.line("127.0.0.2"), site.line("127.0.0.3"):
        with pytest.raises(InvalidStatus) as refused:
            site.line("127.0.0.2")
        assert refused.value.response.status_code == 429


def test_body_as_large_as_allowed_comes_through(site: Site) -> None:
    """The server, not Nginx, says what is too large, in its own format."""
    status, _, _ = site.ask("/api/videos", {"prompt": "a" * 10_000_000})
    assert status == 422
    status, headers, _ = site.ask("/api/videos", {"prompt": "a" * 10_485_760})
    assert (status, headers["Content-Type"]) == (413, "application/problem+json")


def test_log_shows_no_token(site: Site) -> None:
    """What stands behind the ? of an address is a secret as often as not."""
    site.ask("/healthz?access_token=secret-token")
    # Nginx writes its line when the answer has gone, so it may not stand there yet.
    while '"GET /healthz HTTP/1.1" 200' not in (logged := site.access_log.read_text()):
        site.ask("/readyz")
    assert "secret-token" not in logged
    assert "sig=" not in logged


@pytest.mark.parametrize("conf", ["nginx.conf", "nginx-cluster.conf"])
def test_errors_show_no_token(conf: str, tmp_path: Path) -> None:
    """Nginx writes whole addresses where nobody answers behind it, as at each restart."""
    with nginx_of(conf, tmp_path, [free_port(), free_port()]) as site:
        for path in ("/api/events", "/api/videos/video_0/events"):
            assert site.ask(f"{path}?access_token=secret-token")[0] == 502
        assert site.ask("/media/video_0.mp4?sig=secret-signature")[0] == 502
        assert site.ask("/healthz")[0] == 502
        # A worker writes in order, and this one before it answers.
        logged = (tmp_path / "error.log").read_text()
    assert "GET /healthz" in logged
    assert "secret" not in logged


class Dying(ThreadingHTTPServer):
    """An instance that dies over each request: it has read all of it, and answers nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BaseHTTPRequestHandler)
        self.asked: list[str] = []

    def finish_request(self, request: Any, client_address: Any) -> None:
        with request.makefile("rb") as sent:
            method = sent.readline().decode().partition(" ")[0]
            sent.read(int(http.client.parse_headers(sent).get("Content-Length", 0)))
            self.asked.append(method)


@pytest.fixture
def dying() -> Iterator[Dying]:
    with Dying() as instance:
        thread = threading.Thread(target=instance.serve_forever)
        thread.start()
        yield instance
        instance.shutdown()
        thread.join()


def statuses(site: Site, dying: Dying, method: str, **headers: str) -> set[int]:
    """Of requests until the one that dies has had some."""
    before, seen = dying.asked.count(method), set()
    while dying.asked.count(method) < before + 3:
        body = {"prompt": "a kite"} if method == "POST" else None
        seen.add(site.ask("/api/videos", body, **headers)[0])
    return seen


def test_who_dies_over_a_request(server: Server, dying: Dying, tmp_path: Path) -> None:
    """What may be done twice is asked of the other instance; a create, where it has an Idempotency-Key."""
    with in_front_of(server, "nginx-cluster.conf", dying.server_port, tmp_path) as site:
        assert statuses(site, dying, "GET") == {200}
        assert statuses(site, dying, "POST", **{"Idempotency-Key": "kite"}) == {202}
        assert 502 in statuses(site, dying, "POST")
        for source in ("127.0.0.2", "127.0.0.3"):
            with site.line(source) as line:
                assert line.ping().wait(30)
