"""docs/rest.md, held against the handlers: what a running server says of itself, and their types."""

from __future__ import annotations

import re
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest

from sora_ws.rest import event_routes, routes
from sora_ws.rest.login import Signed
from sora_ws.rest.orders import CreateBody, RetryBody
from sora_ws.rest.problem import KINDS
from sora_ws.rest.videos import FILTERS
from sora_ws.rest.views import TaskView
from sora_ws.settings import Settings
from tests.docs.markdown import DOCS, column, names, section, sections, table
from tests.server import Server

PAGE: Final = DOCS / "rest.md"
CALL: Final = re.compile(r"(GET|POST|DELETE) (/\S*)")
CALLS: Final = [match.groups() for heading, _ in sections(PAGE) if (match := CALL.fullmatch(heading))]
EXAMPLE: Final = "video_1f0c4e5d6a7b8c9d0e1f2a3b4c5d6e7f"
NOT_BY_NAME: Final = {r".*", r"/static/(.+)"}  # what leads nowhere, and the files of the page


def test_every_address_is_documented() -> None:
    """Each route of the server is one of the page's."""
    context: Any = SimpleNamespace(settings=Settings.load({})[0])
    paths = [path.replace("{videoId}", EXAMPLE) for _, path in CALLS]
    for pattern, _handler, _arguments in [*routes(context), *event_routes(context, context)]:
        assert pattern in NOT_BY_NAME or any(re.fullmatch(pattern, path) for path in paths), pattern


def test_every_verb_is_documented(server: Server) -> None:
    """What an address allows is what the page says, besides what all addresses have."""
    documented = defaultdict(set)
    for verb, path in CALLS:
        documented[path].add(verb)
    for path, verbs in documented.items():
        answer = server.request("OPTIONS", path.replace("{videoId}", EXAMPLE))
        assert set(answer.headers["Allow"].split(", ")) - {"HEAD", "OPTIONS"} == verbs, path


@pytest.mark.parametrize(
    ("heading", "type_"),
    [
        ("A task", TaskView),
        ("POST /api/videos", CreateBody),
        ("POST /api/auth/login", Signed),
    ],
)
def test_the_fields(heading: str, type_: type[msgspec.Struct]) -> None:
    """The table has exactly the fields of the type."""
    documented = [name for row in table(section(PAGE, heading)) for name in names(row[0])]
    assert sorted(documented) == sorted(field.encode_name for field in msgspec.structs.fields(type_))


def test_what_ended_tasks_have() -> None:
    """The fields of result, metrics and error are named in the task's rows."""
    rows = {name: row[1] for row in table(section(PAGE, "A task")) for name in names(row[0])}
    for field in msgspec.structs.fields(TaskView):
        inner = next(
            (arg for arg in getattr(field.type, "__args__", ()) if hasattr(arg, "__struct_fields__")), None
        )
        if inner is not None:
            assert {f.encode_name for f in msgspec.structs.fields(inner)} <= set(
                names(rows[field.encode_name])
            )


def test_the_filters() -> None:
    """All that may stand behind the ? of a list."""
    assert set(column(section(PAGE, "GET /api/videos"))) == FILTERS


def test_the_retry() -> None:
    """Each field of its body."""
    text = section(PAGE, "POST /api/videos/{videoId}/retry")
    assert all(f'"{field.encode_name}"' in text for field in msgspec.structs.fields(RetryBody))


def test_the_statuses_of_errors() -> None:
    """Every error of the domain has its status in the table."""
    documented = {int(status) for status in column(section(PAGE, "Errors"))}
    assert {kind.status for kind in KINDS.values()} <= documented
