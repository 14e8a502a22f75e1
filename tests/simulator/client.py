"""Plain HTTP, as any client would speak it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPResponse

BOUNDARY = "f1ee"


@dataclass(frozen=True)
class Client:
    """A client of the API at `base`."""

    base: str

    async def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> HTTPResponse:
        """One request; underscores in the names of headers are hyphens."""
        return await AsyncHTTPClient().fetch(
            self.base + path,
            method=method,
            body=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            raise_error=False,
            allow_nonstandard_methods=True,
            request_timeout=60,
        )

    async def get(self, path: str, **headers: str) -> HTTPResponse:
        """GET"""
        return await self.call("GET", path, None, **headers)

    async def create(self, **fields: Any) -> HTTPResponse:
        """POST a create as JSON."""
        return await self.call(
            "POST", "/videos", json.dumps(fields).encode(), Content_Type="application/json"
        )

    async def create_by_form(self, **fields: str | bytes) -> HTTPResponse:
        """POST a create as multipart; bytes go as a file."""
        parts = b"".join(_part(name, value) for name, value in fields.items())
        body = parts + f"--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return await self.call("POST", "/videos", body, Content_Type=kind)


def _part(name: str, value: str | bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    if isinstance(value, str):
        return f"{head}\r\n\r\n{value}\r\n".encode()
    return f'{head}; filename="it.png"\r\nContent-Type: image/png\r\n\r\n'.encode() + value + b"\r\n"


def body_of(response: HTTPResponse) -> dict[str, Any]:
    """The answer's JSON."""
    body: dict[str, Any] = json.loads(response.body)
    return body
