"""The OpenAPI 3.1 document of the API, made from what the handlers say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, current_app, json, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from tracker.errors import (
    BadInput,
    DatabaseUnavailable,
    NotFound,
    TooLarge,
    TrackerError,
    Unauthenticated,
)  # fmt: skip
from web.api.described import Described, described
from web.api.exchange import read_query
from web.api.models import NoQuery
from web.auth import OPEN_TO_ALL, OPEN_TO_PROGRAMS
from web.problems import Problem

openapi = Blueprint("openapi", __name__)

PREFIX = "/api/v1"
_OF_ALL = (BadInput, Unauthenticated, DatabaseUnavailable)
_NAMES = {"ident": "id"}
_SEGMENT = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^/\x00]+$"}
_REF = "#/components/schemas/{model}"
_A_PROBLEM = {"$ref": "#/components/responses/Problem"}
_ABOUT = (
    "Runs, their series, output and files, and the cluster. Errors are problem documents (RFC 9457) with a stable "
    "`code`; lists are pages with a cursor; times are ISO 8601 in UTC; NaN and infinities are strings."
)

Models = Mapping[Any, dict[str, Any]]
"""Schemas by model and mode."""


@openapi.get("/openapi.json")
@described({"application/json": None})
def show() -> ResponseReturnValue:
    """This document."""
    read_query(NoQuery)
    response = Response(_text(current_app._get_current_object(), request.script_root), content_type="application/json")  # type: ignore[attr-defined]
    response.add_etag()
    return response.make_conditional(request)


@cache
def _text(app: Flask, root: str) -> str:
    return json.dumps(document(app, root), sort_keys=False)


def document(app: Flask, root: str = "") -> dict[str, Any]:
    """The document of an application that lives under `root`."""
    told = list(_told(app))
    schemas, definitions = _schemas([what for _, _, what in told])
    problem = {"application/problem+json": {"schema": schemas[Problem, "serialization"]}}
    names = {(_path(rule), method): rule.endpoint.removeprefix("api.") for rule, method, _ in told}
    paths: dict[str, Any] = {}
    for rule, method, what in told:
        handler = app.view_functions[rule.endpoint]
        operation = _operation(rule, what, schemas)
        if rule.endpoint in OPEN_TO_ALL | OPEN_TO_PROGRAMS:
            operation["security"] = []
        summary, _, more = (handler.__doc__ or "").partition("\n\n")
        text = {"summary": " ".join(summary.split()), "description": " ".join(more.split())}
        known = {name: value for name, value in text.items() if value}
        if what.status == 201:
            operation["responses"]["201"]["links"] = _links(_path(rule), names)
        named = {"operationId": names[_path(rule), method]}
        paths.setdefault(_path(rule), {})[method] = {**named, **known, **operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tracker", "version": "1", "description": _ABOUT},
        "servers": [{"url": root + PREFIX}],
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": {"description": "An error.", "content": problem}},
            "schemas": dict(sorted(definitions.items())),
        },
    }


def undescribed(app: Flask) -> list[str]:
    """Addresses of the API that say nothing of themselves; there should be none."""
    return [
        rule.rule for rule in app.url_map.iter_rules()
        if rule.rule.startswith(PREFIX) and not hasattr(app.view_functions[rule.endpoint], "described")
    ]  # fmt: skip


def _told(app: Flask) -> Iterator[tuple[Rule, str, Described]]:
    for rule in app.url_map.iter_rules():
        what = getattr(app.view_functions[rule.endpoint], "described", None)
        if what is not None and rule.rule.startswith(PREFIX):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method.lower(), what


def _path(rule: Rule) -> str:
    return re.sub(r"<[^:>]+:([^>]+)>", lambda found: f"{{{_NAMES.get(found[1], found[1])}}}", rule.rule)[len(PREFIX) :]


def _links(path: str, names: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """What can be asked about a thing that was made, by its id."""
    about = sorted(
        name for (other, _), name in names.items() if re.fullmatch(rf"{re.escape(path)}/{{id}}(/\w+)?", other)
    )
    return {name: {"operationId": name, "parameters": {"id": "$response.body#/id"}} for name in about}


def _schemas(told: list[Described]) -> tuple[Models, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for what in told:
        wanted |= {(model, "serialization"): None for model in what.answers.values() if model}
        wanted |= {(model, "validation"): None for model in what.body.values() if model}
    schemas, definitions = models_json_schema(list(wanted), ref_template=_REF)
    return schemas, _tidied(definitions["$defs"])


def _tidied(schema: Any) -> Any:
    """Without titles that repeat names, and strict where keys have a pattern: there are no keys of another one."""
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidied(one) for key, one in schema.items() if key != "title" or not isinstance(one, str)}
    return tidy | ({"additionalProperties": False} if "patternProperties" in tidy else {})


def _operation(rule: Rule, what: Described, schemas: Models) -> dict[str, Any]:
    segments = [
        {"name": _NAMES.get(name, name), "in": "path", "required": True, "schema": _SEGMENT}
        for name in re.findall(r"<[^:>]+:([^>]+)>", rule.rule)
    ]
    operation: dict[str, Any] = {"parameters": [*segments, *_query(what.query)]}
    if what.body:
        operation["requestBody"] = {"required": True, "content": _content(what.body, "validation", schemas)}
    answer: dict[str, Any] = {"description": HTTPStatus(what.status).phrase}
    if what.answers:
        answer["content"] = _content(what.answers, "serialization", schemas)
    if what.status == 201:
        answer["headers"] = {"Location": {"required": True, "schema": {"type": "string"}}}
    errors = {*_OF_ALL, *what.errors, *((NotFound,) if segments else ()), *((TooLarge,) if what.body else ())}
    operation["responses"] = {str(what.status): answer, **_problems(errors)}
    return operation


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = _tidied(model.model_json_schema())
    definitions = schema.get("$defs", {})
    assert not definitions, "query parameters are plain values"
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _without_null(one)}
        for name, one in schema["properties"].items()
    ] if "properties" in schema else []  # fmt: skip


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is not given has no value; it is never null."""
    plain = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
    kinds = [kind for kind in plain.pop("anyOf", []) if kind != {"type": "null"}]
    return plain | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _content(what: Mapping[str, Any], mode: JsonSchemaMode, schemas: Models) -> dict[str, Any]:
    return {kind: {"schema": schemas[model, mode] if model else {}} for kind, model in what.items()}


def _problems(errors: set[type[TrackerError]]) -> dict[str, Any]:
    by_status: dict[str, set[str]] = {}
    for error in errors:
        by_status.setdefault(str(error.status), set()).add(f"`{error.code}`")
    told = {status: {**_A_PROBLEM, "description": ", ".join(sorted(by_status[status]))} for status in sorted(by_status)}
    return told | {"default": _A_PROBLEM}
