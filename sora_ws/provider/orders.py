"""An order as the body of a create: a form, or JSON. Pure."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from dataclasses import dataclass
from enum import StrEnum

from sora_ws.task import Order


class Encoding(StrEnum):
    """How a create is sent. Most backends take the form, some only one of the two."""

    FORM = "form"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Body:
    content_type: str
    content: bytes


def encoded(order: Order, reference: bytes | None, encoding: Encoding) -> Body:
    """The order as a create's body; fields that are not set are not sent."""
    if encoding is Encoding.JSON:
        return _as_json(order, reference)
    return _as_form(order, reference, boundary=f"sora-ws-{secrets.token_hex(16)}")


def _fields(order: Order) -> dict[str, str]:
    seconds = None if order.seconds is None else str(order.seconds)
    fields = {"prompt": order.prompt, "model": order.model, "seconds": seconds, "size": order.size}
    return {name: value for name, value in fields.items() if value}


def _as_json(order: Order, reference: bytes | None) -> Body:
    fields = _fields(order)
    if reference is not None:
        # Of the three shapes in use, the one that the most JSON backends read.
        fields["input_reference"] = f"data:{_media_type(order)};base64,{b64encode(reference).decode()}"
    return Body("application/json", json.dumps(fields).encode())


def _as_form(order: Order, reference: bytes | None, boundary: str) -> Body:
    """RFC 7578."""
    parts = [
        _part(boundary, f'name="{name}"', value.encode("utf-8", "replace"))
        for name, value in _fields(order).items()
    ]
    if reference is not None:
        media_type = _media_type(order)
        file_name = f"input_reference.{media_type.partition('/')[2]}"
        named = f'name="input_reference"; filename="{file_name}"\r\nContent-Type: {media_type}'
        parts.append(_part(boundary, named, reference))
    return Body(f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode())


def _part(boundary: str, head: str, content: bytes) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"


def _media_type(order: Order) -> str:
    return order.reference_type or "image/png"
