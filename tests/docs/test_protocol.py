"""docs/protocol.md, held against the types that the server encodes and decodes by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, get_args

import msgspec
import pytest
from msgspec import Struct

from sora_ws.client import watch
from sora_ws.push.messages import PUSHES, REPLIES, REQUESTS, WORDS, CloseCode, ErrorCode, Request
from sora_ws.task import FailureCode
from tests.docs.markdown import CHECKOUT, DOCS, FENCE, by_first_column, column, section, sections, table

PAGE: Final = DOCS / "protocol.md"

SENT: Final[dict[str, tuple[type[Struct], ...]]] = {
    **REPLIES,
    **{name: (type_,) for name, type_ in PUSHES.items()},
}
TYPES: Final = SENT | {name: (type_,) for name, type_ in REQUESTS.items()}

NOT_SENT_BY_US: Final = {1006, 1010, 1011, 1012, 1013}  # of the line, of proxies, or of other servers
RETURNS: Final = {
    "comes back": watch.COMES_BACK,
    "comes back with a new token": watch.NEEDS_NEW_TOKEN,
}


def fields_of(type_: type[Struct], prefix: str = "") -> Iterator[str]:
    """The names of the type's fields outside, those of inner objects behind a dot."""
    for field in msgspec.structs.fields(type_):
        name = f"{prefix}{field.encode_name}"
        yield name
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, Struct):
                yield from fields_of(inner, f"{name}.")


def example(text: str) -> str:
    """The one example of a section."""
    [(language, content)] = FENCE.findall(text)
    assert language == "json"
    return str(content)


def test_every_message_has_its_section() -> None:
    """Each below the heading of its direction, and no message that there is not."""
    parts = {"From the client": REQUESTS, "Replies": REPLIES, "Pushes": PUSHES}
    text = PAGE.read_text(encoding="utf-8")
    for title, messages in parts.items():
        part = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        assert re.findall(r"^### `(\w+)`$", part, re.MULTILINE) == list(messages)


@pytest.mark.parametrize("name", TYPES)
def test_the_fields_of_a_message(name: str) -> None:
    """The table of a message has exactly its fields."""
    documented = column(section(PAGE, name))
    assert sorted(documented) == sorted({field for type_ in TYPES[name] for field in fields_of(type_)})


@pytest.mark.parametrize("name", REQUESTS)
def test_the_example_of_a_request(name: str) -> None:
    """It is one that the server reads, with no field that it doesn't know."""
    text = example(section(PAGE, name))
    request = msgspec.json.decode(text, type=Request)
    assert request.type == name
    msgspec.json.decode(request.payload, type=REQUESTS[name])
    assert set(json.loads(bytes(request.payload))) <= set(fields_of(REQUESTS[name]))


@pytest.mark.parametrize("name", SENT)
def test_the_example_of_what_is_sent(name: str) -> None:
    """It is exactly what the server would send, a push without an id."""
    message = json.loads(example(section(PAGE, name)))
    assert message.keys() - {"id"} == {"type", "timestamp", "payload"}
    assert message["type"] == name
    assert ("id" in message) == (name in REPLIES)
    assert any(_as_sent(message["payload"], type_) == message["payload"] for type_ in SENT[name])


def _as_sent(payload: Any, type_: type[Struct]) -> Any:
    try:
        return json.loads(msgspec.json.encode(msgspec.json.decode(json.dumps(payload), type=type_)))
    except msgspec.ValidationError:
        return None


def test_every_error_code() -> None:
    """Each stands in the table, and nothing else does."""
    assert set(column(section(PAGE, "Errors"))) == set(ErrorCode)


def test_every_close_code() -> None:
    """Each stands in the table, and the documented return is what our own clients do."""
    documented = {int(code): row[1] for code, row in by_first_column(section(PAGE, "Close codes")).items()}
    assert documented.keys() == set(CloseCode)
    for then, codes in RETURNS.items():
        assert {code for code, row in documented.items() if row == then} == codes - NOT_SENT_BY_US
    stays_away = {code for code, row in documented.items() if row == "stays away"}
    browser_client = (CHECKOUT / "sora_ws" / "web" / "sora-ws.js").read_text()
    [never] = re.findall(r"NEVER_AGAIN = new Set\(\[([^\]]*)\]\)", browser_client)
    assert stays_away == {int(code) for code in never.split(",")} - NOT_SENT_BY_US


def test_every_failure_code() -> None:
    """Why a task may have failed."""
    assert set(column(section(PAGE, "Why a task ends without a video"))) == set(FailureCode)


@pytest.mark.parametrize(("language", "number"), [("en", 1), ("zh", 2)])
def test_the_words(language: Any, number: int) -> None:
    """What people read, letter by letter."""
    documented = column(section(PAGE, "Words"), number)
    assert documented == list(msgspec.structs.asdict(WORDS[language]).values())


def test_no_table_is_empty() -> None:
    """A table that the reader of these tests can't find would prove nothing."""
    assert all(table(text) for _, text in sections(PAGE) if "| --- |" in text)
