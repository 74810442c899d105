"""Reading requests into models and writing models into answers."""

from __future__ import annotations

import zlib
from typing import TypeVar, get_origin

import zstandard
from flask import Response, current_app, request
from pydantic import BaseModel, ValidationError

from tracker.errors import BadInput, TooLarge

Model = TypeVar("Model", bound=BaseModel)
_MOST_WINDOW_BYTES = 8 * 1024**2  # what RFC 8878 recommends decoders to support


def read_query(model: type[Model]) -> Model:
    """The query parameters. Raises BadInput for an unknown one or a bad value."""
    lists = {name for name, field in model.model_fields.items() if get_origin(field.annotation) is list}
    given = {name: values if name in lists else values[-1] for name, values in request.args.lists()}
    try:
        return model.model_validate(given)
    except ValidationError as problem:
        raise BadInput(_sentence(problem, "query parameter")) from None


def read_body(model: type[Model]) -> Model:
    """The JSON body, maybe packed. Raises BadInput when it is not JSON or does not fit, TooLarge."""
    body = inflated_body(current_app.config["MAX_CONTENT_LENGTH"])
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        raise BadInput(_sentence(problem, "field")) from None


def _sentence(problem: ValidationError, word: str) -> str:
    first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(str(step) for step in first["loc"])[:80]
    if first["type"] == "extra_forbidden":
        return f"There is no {word} `{name}` here."
    return (
        f"The {word} `{name}` cannot be used: {first['msg']}." if name else f"The body cannot be used: {first['msg']}."
    )


def inflated_body(limit: int) -> bytes:
    """The request's body, unpacked. Raises TooLarge when it is longer than `limit` bytes, packed or unpacked."""
    request.max_content_length = limit
    body = request.get_data(cache=False)
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    unpack = _UNPACKED_BY.get(encoding)
    if unpack is None:
        raise BadInput("A body may be packed with gzip or zstd, nothing else.")
    return unpack(body, limit)


def _gunzip(packed: bytes, limit: int) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    try:
        body = unpacking.decompress(packed, limit + 1)
    except zlib.error:
        raise BadInput("The body is not gzip.") from None
    if len(body) > limit:
        raise TooLarge(f"The body is longer than {limit} bytes once unpacked.")
    if not unpacking.eof or unpacking.unused_data:
        raise BadInput("The body is not one whole gzip stream.")
    return body


def _unzstd(packed: bytes, limit: int) -> bytes:
    unpacking = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES)
    try:
        with unpacking.stream_reader(packed) as stream:
            body = stream.read(limit + 1)
        size = zstandard.frame_content_size(packed)
    except zstandard.ZstdError:
        raise BadInput("The body is not zstd.") from None
    if len(body) > limit:
        raise TooLarge(f"The body is longer than {limit} bytes once unpacked.")
    if size not in (-1, len(body)):
        raise BadInput("The body is not one whole zstd frame.")
    return body


_UNPACKED_BY = {"gzip": _gunzip, "zstd": _unzstd}


def answer(model: BaseModel, status: int = 200) -> Response:
    """The model as JSON, with an ETag; 304 to those who have it already."""
    response = Response(model.model_dump_json(), status, content_type="application/json")
    response.add_etag(weak=True)
    response.make_conditional(request)
    return response


def made(model: BaseModel, address: str) -> Response:
    """What was made, and where it is."""
    response = answer(model, 201)
    response.location = address
    return response
