"""From a request's bytes to a checked value, or to a problem that says what to write instead.

The types of the bodies carry their own rules and, as the `description` of a type, the sentence
for people; the published schema is made from the same types.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, TypeVar, get_args

import msgspec
from tornado.httputil import HTTPFile, HTTPHeaders, HTTPInputError, parse_body_arguments

from sora_ws.rest.problem import FieldError, Problem

T = TypeVar("T", bound=msgspec.Struct)

NOT_JSON: Final = "The body has to be one JSON object in UTF-8, without equal keys."


def media_type(headers: HTTPHeaders) -> str:
    """The Content-Type without its parameters."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def json_object(raw: bytes, headers: HTTPHeaders) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object. Raises Problem 400 or 415."""
    if not raw:
        return {}
    kind = media_type(headers)
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise Problem(415, "Send the body as application/json.")
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_unequal, parse_constant=_no_constant)
        if b"\\u" in raw:
            _refuse_lone_surrogates(document)
    except (ValueError, RecursionError):
        raise Problem(400, NOT_JSON) from None
    if not isinstance(document, dict):
        raise Problem(400, NOT_JSON)
    return document


def form(raw: bytes, headers: HTTPHeaders) -> tuple[dict[str, Any], dict[str, HTTPFile]]:
    """The text fields and the files of a multipart form; empty fields are left out.

    Raises Problem 400, also where a field comes twice.
    """
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(headers["Content-Type"], raw, arguments, files, headers)
        fields = {name: value.decode() for name, value in _once(arguments).items() if value}
    except (HTTPInputError, ValueError):
        raise Problem(400, "The body is no multipart form in UTF-8.") from None
    return fields, _once(files)


def checked(document: Mapping[str, Any], type_: type[T]) -> T:
    """The document as the type; unknown fields are ignored. Raises Problem 422 with every wrong field."""
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for field in msgspec.structs.fields(type_):
        name = field.encode_name
        if name not in document:
            if field.required:
                errors.append(FieldError(name, "is missing"))
            continue
        try:
            values[field.name] = msgspec.convert(document[name], field.type)
        except msgspec.ValidationError as error:
            errors.append(FieldError(name, _expected(field.type) or str(error)))
    if errors:
        detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
        raise Problem(422, detail, errors=errors)
    return type_(**values)


def _expected(type_: Any) -> str | None:
    """The sentence that describes the type."""
    for part in (type_, *get_args(type_)):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    return None


def _once(values: Mapping[str, list[Any]]) -> dict[str, Any]:
    twice = [name for name, all_ in values.items() if len(all_) != 1]
    if twice:
        raise Problem(400, f"These fields came more than once: {', '.join(sorted(twice))}.")
    return {name: all_[0] for name, all_ in values.items()}


def _unequal(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("equal keys: readers differ in which of them counts")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refuse_lone_surrogates(document: object) -> None:
    """Half of a character, which no database takes: raises UnicodeEncodeError."""
    json.dumps(document, ensure_ascii=False).encode()
