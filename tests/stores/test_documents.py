"""Every task and user comes back from its document as it was."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, cast, get_args, get_type_hints

import bson
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_ws.store import NewerFormat, User
from sora_ws.store.documents import (
    task_from_document,
    task_to_document,
    user_from_document,
    user_to_document,
    watch_to_document,
)
from sora_ws.store.mongo import CODEC
from sora_ws.task import Idempotency, Task
from tests.stores.tasks import NOW, a_task, completed, rendering

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
}


def anything_of(kind: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a field's type; of a dataclass with every field drawn, those with defaults too."""
    if is_dataclass(kind):
        drawn = {name: anything_of(inner) for name, inner in get_type_hints(kind).items()}
        return st.builds(cast(type, kind), **(drawn | fields))
    if alternatives := get_args(kind):
        return st.one_of(*map(anything_of, alternatives))
    return VALUES[kind] if kind in VALUES else st.from_type(kind)


tasks = anything_of(
    Task,
    user_id=NAMES,
    team=st.none() | NAMES,
    idempotency=st.none() | anything_of(Idempotency, key=NAMES),
    queue_position=st.none(),  # which is not stored
)


@given(tasks)
def test_a_task_comes_back_from_json(task: Task) -> None:
    """Whole, also what a comparison of tasks leaves out."""
    document = msgspec.json.decode(msgspec.json.encode(task_to_document(task)))
    found = task_from_document(document)
    assert found == task
    assert found.idempotency == task.idempotency


@given(tasks)
def test_a_task_comes_back_from_bson(task: Task) -> None:
    """Whole, and so that it can be encoded as JSON."""
    document = bson.decode(bson.encode(task_to_document(task)), CODEC)
    found = task_from_document(document)
    assert found == task
    assert found.idempotency == task.idempotency
    assert msgspec.json.encode(found) == msgspec.json.encode(task)


@given(anything_of(User))
def test_a_user_comes_back(user: User) -> None:
    """Whole."""
    assert user_from_document(msgspec.json.decode(msgspec.json.encode(user_to_document(user)))) == user


def test_a_document_can_be_read_by_people() -> None:
    """Names in camelCase, one level for each part, null for what is unset."""
    document = task_to_document(completed(a_task(team="team-a")))
    assert {name: document[name] for name in ("userId", "team", "state", "status", "live", "format")} == {
        "userId": "ann",
        "team": "team-a",
        "state": "completed",
        "status": "COMPLETED",
        "live": False,
        "format": 1,
    }
    assert document["order"] == {
        "prompt": "a cat",
        "model": "sora-2",
        "seconds": None,
        "size": None,
        "referenceType": None,
    }
    assert document["video"]["hasThumbnail"] is True
    assert document["failure"] is None
    assert document["watch"] == watch_to_document(completed(a_task()).watch)


def test_a_field_that_came_later_has_its_default() -> None:
    """A document of the same format that lacks a field is read with what the field defaults to."""
    document = task_to_document(rendering(a_task()))
    del document["overdue"], document["watch"]["unknownSends"]
    found = task_from_document(document | {"afterthought": 1})
    assert found.overdue is False
    assert found.watch.unknown_sends == 0


def test_a_later_format_is_not_read() -> None:
    """What a later version wrote is refused, not guessed at."""
    with pytest.raises(NewerFormat, match="format 2"):
        task_from_document(task_to_document(a_task()) | {"format": 2})
    with pytest.raises(NewerFormat, match="format 2"):
        user_from_document(user_to_document(User("ann", "hash", NOW)) | {"format": 2})
