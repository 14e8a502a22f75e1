"""A client of a sora-ws server's REST calls; `watch` beside it follows a task over WebSocket.

It knows the server by its contract alone and shares no code with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import quote, urlencode

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from sora_ws.client.answers import (
    ClientError,
    Login,
    Problem,
    Received,
    SignInNeeded,
    T,
    Task,
    TaskPage,
    read,
)

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 30.0


class Client:
    """One user's view of the server at `url`, which has no slash at its end.

    All calls raise ClientError, and its child SignInNeeded where a (new) token would help.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.token = token
        self._http = AsyncHTTPClient(force_instance=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._http.close()

    async def login(self, username: str, password: str) -> Received[Login]:
        """Sign in; the calls that follow carry the new token."""
        body = {"username": username, "password": password}
        return self._signed_in(await self._call("POST", "/api/auth/login", Login, body))

    async def renew(self) -> Received[Login]:
        """Change the token, which has to be good still, for one that lives longer."""
        return self._signed_in(await self._call("POST", "/api/auth/refresh", Login, {}))

    async def create(self, order: Mapping[str, object]) -> Received[Task]:
        """Ask for a video; `order` is the body of POST /api/videos."""
        return await self._call("POST", "/api/videos", Task, order)

    async def list(self, **query: str | int | None) -> Received[TaskPage]:
        """My tasks, newest first; `query` may have status, team, limit and cursor."""
        given = {name: value for name, value in query.items() if value is not None}
        return await self._call("GET", f"/api/videos?{urlencode(given)}", TaskPage)

    async def get(self, video_id: str) -> Received[Task]:
        """One task."""
        return await self._call("GET", f"/api/videos/{quote(video_id, safe='')}", Task)

    def _signed_in(self, received: Received[Login]) -> Received[Login]:
        self.token = received.value.token
        return received

    async def _call(
        self, method: str, path: str, type_: type[T], body: Mapping[str, object] | None = None
    ) -> Received[T]:
        request = HTTPRequest(
            self.url + path,
            method,
            {"Accept": "application/json"},
            None if body is None else json.dumps(body),
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=ANSWER_TIMEOUT_S,
            follow_redirects=False,  # a token goes to nobody but the server that was named
        )
        if self.token is not None:
            request.headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            request.headers["Content-Type"] = "application/json"
        try:
            response = await self._http.fetch(request, raise_error=False)
        except (OSError, HTTPClientError) as error:
            raise unreachable(self.url, error) from None
        if not 200 <= response.code < 300:
            raise refusal(self.url, response)
        return read(response.body, type_)


def unreachable(url: str, error: OSError | HTTPClientError) -> ClientError:
    """The error of a call that no answer came to."""
    why = error.message if isinstance(error, HTTPClientError) else error.strerror
    return ClientError(f"No server can be reached at {url}: {why or error}")


def refusal(url: str, response: HTTPResponse) -> ClientError:
    """The error of a call that was answered, and not by what was asked for."""
    if 300 <= response.code < 400:
        return ClientError(f"{url} sends on to {response.headers.get('Location')}: use that address")
    try:
        problem = msgspec.json.decode(response.body, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem()
    line = problem.line() or f"{url} answered {response.code} {response.reason}"
    return SignInNeeded(line) if response.code == 401 else ClientError(line)
