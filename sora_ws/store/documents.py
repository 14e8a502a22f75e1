"""What a task and a user look like at rest: plain documents with readable names.

Both adapters keep the same document, MongoDB as BSON, SQLite as JSON with some of a task's fields in
columns. Every field is there, null where it is unset. `format`, `status`, `live` and `place` are written
for queries and for people who look into the database, and are worked out anew when a task is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, Final, TypeVar, Union, cast, get_args, get_type_hints

import msgspec

from sora_ws.callbacks import Callback
from sora_ws.durations import BINS, Durations, Kind
from sora_ws.store import NewerFormat, User
from sora_ws.task import Task, Watch

Document = dict[str, Any]
T = TypeVar("T")

FORMAT: Final = 1
IN_LINE: Final = "line"
AT_PROVIDER: Final = "provider"

WEIGHT_DIGITS: Final = 6

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what BSON and SQLite have room for


def task_to_document(task: Task) -> Document:
    """Raises ValueError for what no database can hold: integers beyond 64 bits, NUL in a name.

    (Text with lone surrogates is refused by the encoders, with a ValueError too.)
    """
    key = task.idempotency.key if task.idempotency else ""
    # SQLite's JSON functions end a text at a NUL, so two such names would be taken for one.
    if "\0" in f"{task.user_id}{task.team}{key}":
        raise ValueError("a user, team or idempotency key can't hold a NUL")
    document = _document(task)
    del document["queuePosition"]
    document.update(status=task.status.value, live=task.is_live, format=FORMAT, place=_place(task))
    return document


def task_from_document(document: Mapping[str, Any]) -> Task:
    """Raises NewerFormat."""
    return _value(document, Task)


def watch_to_document(watch: Watch) -> Document:
    """The value of a task's `watch`."""
    return _document(watch)


def callback_to_document(callback: Callback) -> Document:
    """The value of a task's `callback`."""
    return _document(callback)


def user_to_document(user: User) -> Document:
    """Raises ValueError like `task_to_document`."""
    return _document(user) | {"format": FORMAT}


def user_from_document(document: Mapping[str, Any]) -> User:
    """Raises NewerFormat."""
    return _value(document, User)


def durations_to_document(kind: Kind, durations: Durations) -> Document:
    """`weights` from bin `first` on; before and behind them all are 0."""
    weights = [round(weight, WEIGHT_DIGITS) for weight in durations.weights]
    held = [index for index, weight in enumerate(weights) if weight]
    first, end = (held[0], held[-1] + 1) if held else (0, 0)
    return {"id": kind_id(kind), "first": first, "weights": weights[first:end], "format": FORMAT}


def durations_from_document(document: Mapping[str, Any]) -> tuple[Kind, Durations]:
    """Raises NewerFormat."""
    check_format(document["format"])
    before, weights = (0.0,) * document["first"], tuple(document["weights"])
    behind = (0.0,) * (BINS - len(before) - len(weights))
    kind: Kind = tuple(msgspec.json.decode(document["id"]))
    return kind, Durations(before + weights + behind)


def kind_id(kind: Kind) -> str:
    """As people can read it: `["sora-2",8,"1280x720"]`, `["sora-2"]`, `[]`."""
    return msgspec.json.encode(kind).decode()


def check_format(found: int, known: int = FORMAT) -> None:
    """Raises NewerFormat where a later version than this one wrote `found`."""
    if found > known:
        raise NewerFormat(f"the database has format {found}, this version knows up to {known}")


def _place(task: Task) -> str | None:
    if task.waits:
        return IN_LINE
    return AT_PROVIDER if task.is_at_provider else None


def _document(value: Task | Watch | Callback | User) -> Document:
    try:
        stored = msgspec.convert(value, _AT_REST[type(value)], from_attributes=True)
    except msgspec.ValidationError as error:
        raise ValueError(f"an integer of more than 64 bits can't be stored: {error}") from error
    document: Document = msgspec.to_builtins(stored)
    return document


def _value(document: Mapping[str, Any], kind: type[T]) -> T:
    check_format(document["format"])
    return msgspec.convert(msgspec.convert(document, _AT_REST[kind]), kind, from_attributes=True)


def _stored(kind: type[Any]) -> type[msgspec.Struct]:
    """The dataclass as it is at rest, renamed by msgspec: a task in 6 µs, where in Python it took 34."""
    hints = get_type_hints(kind)
    columns = [(each.name, _stored_type(hints[each.name]), *_default(each)) for each in fields(kind)]
    return msgspec.defstruct(f"Stored{kind.__name__}", columns, rename="camel")


def _stored_type(hint: Any) -> Any:
    if is_dataclass(hint):
        return _stored(cast(type[Any], hint))
    if alternatives := get_args(hint):
        return Union[tuple(map(_stored_type, alternatives))]  # noqa: UP007 -- made at run time
    return _Int64 if hint is int else hint


def _default(field: Field[Any]) -> Sequence[Any]:
    return () if field.default is MISSING else (field.default,)


_AT_REST: Final[Mapping[type[Any], type[msgspec.Struct]]] = {
    kind: _stored(kind) for kind in (Task, Watch, Callback, User)
}
