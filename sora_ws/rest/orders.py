"""What may be asked for: the bodies of create and retry, and their idempotency key."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from tornado.httputil import HTTPHeaders

from sora_ws.callbacks import Callback
from sora_ws.delivery import URL_LENGTH_MAX, WrongAddress, callback_host
from sora_ws.media.images import sniff_image
from sora_ws.rest.body import checked, form, json_object, media_type
from sora_ws.rest.problem import wrong_field
from sora_ws.settings import Network
from sora_ws.task import Idempotency, Order

SIDE: Final = r"(6[4-9]|[7-9][0-9]|[1-9][0-9]{2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-6])"  # 64 to 4096
END: Final = r"(?![\s\S])"  # what `$` is in a schema; in Python it would let a newline pass
IMAGE: Final = "inputReference"
IMAGE_KINDS: Final = "a PNG, JPEG, WebP or GIF image"

# No NUL, which not every store takes, and at least one character that can be seen.
Prompt = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=32_000,
        pattern=r"^(?=[^\u0000]*$)\s*\S",
        description="1 to 32,000 characters, not blank",
    ),
]
Model = Annotated[
    str,
    Meta(pattern=rf"^[\x21-\x7e]{{1,128}}{END}", description="the name of a model, 1 to 128 characters"),
]
Seconds = Annotated[int, Meta(ge=1, le=120, description="a whole number from 1 to 120")]
Size = Annotated[
    str,
    Meta(pattern=rf"^{SIDE}x{SIDE}{END}", description="WIDTHxHEIGHT, each from 64 to 4096, like 1280x720"),
]
Team = Annotated[str, Meta(min_length=1, max_length=128, description="the name of one of your teams")]
DataUrl = Annotated[
    str, Meta(pattern="^data:image/", description=f"a data: URL with {IMAGE_KINDS}; no other address")
]
CallbackUrl = Annotated[
    str,
    Meta(
        max_length=URL_LENGTH_MAX,
        pattern=rf"^https?://[\x21-\x7e]+{END}",
        description="an address like https://app.example.com/told",
    ),
]


class CreateBody(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/videos."""

    prompt: Prompt
    model: Model | None = None
    seconds: Seconds | None = None
    size: Size | None = None
    input_reference: DataUrl | None = None
    team: Team | None = None
    callback_url: CallbackUrl | None = None


class RetryBody(msgspec.Struct, rename="camel", frozen=True):
    """POST /api/videos/{videoId}/retry."""

    prompt: Prompt | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A create that was found good; `image` is the input image."""

    body: CreateBody
    image: bytes | None

    def order(self, default_model: str) -> Order:
        """What is to be made."""
        return Order(
            prompt=self.body.prompt,
            model=self.body.model or default_model,
            seconds=self.body.seconds,
            size=self.body.size,
            reference_type=sniff_image(self.image) if self.image else None,
        )

    def callback(self, allowed: Collection[Network]) -> Callback | None:
        """Where the end is to be told. Raises Problem 422."""
        url = self.body.callback_url
        if url is None:
            return None
        try:
            return Callback(url, callback_host(url, allowed))
        except WrongAddress as error:
            raise wrong_field("callbackUrl", str(error)) from None

    def digest(self) -> str:
        """Equal for requests that ask for the same, as JSON or as a form."""
        body, image = self.body, hashlib.sha256(self.image or b"").hexdigest()
        asked = [body.prompt, body.model, body.seconds, body.size, body.team, image]
        if body.callback_url is not None:  # else as versions without callbacks have stored it
            asked.append(body.callback_url)
        return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()


def read_create(raw: bytes, headers: HTTPHeaders) -> Request:
    """The request for a video. Raises Problem 400, 415 or 422."""
    if media_type(headers) == "multipart/form-data":
        fields, files = form(raw, headers)
        body = checked(_with_numbers(fields), CreateBody)
        image = _image(files[IMAGE].body) if IMAGE in files else _image_of_url(body)
        return Request(body, image)
    body = checked(json_object(raw, headers), CreateBody)
    return Request(body, _image_of_url(body))


def read_retry(raw: bytes, headers: HTTPHeaders) -> RetryBody:
    """What shall be different this time. Raises Problem 400, 415 or 422."""
    return checked(json_object(raw, headers), RetryBody)


def read_idempotency(headers: HTTPHeaders, request: Request) -> Idempotency | None:
    """The client's key for this request, if it sent one. Raises Problem 422."""
    keys = headers.get_list("Idempotency-Key")
    if not keys:
        return None
    if len(keys) > 1 or not re.fullmatch(r"[\x21-\x7e]{1,255}", keys[0]):
        raise wrong_field("Idempotency-Key", "one key of 1 to 255 visible ASCII characters")
    return Idempotency(keys[0], request.digest())


def _with_numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """A form has only text."""
    seconds = fields.get("seconds")
    if seconds is None or not re.fullmatch(r"[0-9]{1,9}", seconds):
        return fields
    return fields | {"seconds": int(seconds)}


def _image_of_url(body: CreateBody) -> bytes | None:
    """RFC 2397, in base64."""
    if body.input_reference is None:
        return None
    head, comma, data = body.input_reference.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise wrong_field(IMAGE, "a data: URL in base64")
    try:
        return _image(base64.b64decode(data, validate=True))
    except ValueError:
        raise wrong_field(IMAGE, "a data: URL in base64") from None


def _image(content: bytes) -> bytes:
    if sniff_image(content) is None:
        raise wrong_field(IMAGE, IMAGE_KINDS)
    return content
