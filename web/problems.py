"""Errors: a problem document (RFC 9457) for programs, a page for people."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated

from flask import Flask, Response, g, render_template, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, WithJsonSchema
from werkzeug.exceptions import HTTPException

from tracker.errors import TrackerError
from web.logs import request_id

log = logging.getLogger("tracker.problems")

RETRY_AFTER_S = 5
_CODES = {
    404: "not_found", 405: "method_not_allowed", 412: "precondition_failed", 413: "too_large",
    429: "too_many_requests",
}  # fmt: skip
_SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    412: "`If-Match` names another state than the one that there is; entity tags here are weak and match for nobody.",
    413: "More was sent than is accepted at once.",
    429: "These are too many requests; `Retry-After` tells when there may be more.",
}


def codes() -> dict[str, str]:
    """What each code of a problem document means, by the code."""
    told, left = {"internal": "The server made a mistake; its log tells more."}, [TrackerError]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind is not TrackerError:
            told[kind.code] = " ".join((kind.__doc__ or "").split())
    for status, code in _CODES.items():
        told.setdefault(code, _SENTENCES[status])
    return dict(sorted(told.items()))


class Problem(BaseModel):
    """An error: `code` is stable, `detail` is a sentence for people, `request_id` is found in the server's log."""

    title: str
    status: int
    request_id: str
    code: Annotated[str, WithJsonSchema({"type": "string", "examples": ["not_found"]})]
    detail: str


def install(app: Flask) -> None:
    """Let the application answer every error in our form."""
    app.register_error_handler(TrackerError, _explained)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _unforeseen)
    app.after_request(_unmet)


def _explained(problem: TrackerError) -> ResponseReturnValue:
    answered = answer(problem.status, problem.code, str(problem))
    if problem.status == 503:
        answered.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answered


def _unmet(response: Response) -> Response:
    """Werkzeug says that a condition is not met by the status alone."""
    return answer(412, _CODES[412], _SENTENCES[412]) if response.status_code == 412 else response


def _of_http(problem: HTTPException) -> ResponseReturnValue:
    if problem.response is not None or (problem.code or 500) < 400:
        return problem  # a redirect that the router found
    status = problem.code or 500
    code = _CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    answered = answer(status, code, _SENTENCES.get(status, problem.description or problem.name))
    for name, value in problem.get_headers():
        if name in ("Allow", "Retry-After"):
            answered.headers[name] = value
    return answered


def _unforeseen(problem: Exception) -> ResponseReturnValue:
    """The outermost place: what nobody foresaw is recorded here, and its inside is shown to nobody."""
    facts = {"request_id": request_id(), "method": request.method[:20], "path": request.path[:500]}
    log.error("a request failed", exc_info=problem, extra={"facts": facts})
    return answer(500, "internal", "The server made a mistake; its log tells more.")


def answer(status: int, code: str, detail: str) -> Response:
    """The error in the form that suits who is asking."""
    g.problem = detail
    if for_programs():
        title = HTTPStatus(status).phrase
        told = Problem(title=title, status=status, code=code, detail=detail, request_id=request_id())
        return Response(told.model_dump_json(), status, content_type="application/problem+json")
    page = render_template("error.html", status=status, title=HTTPStatus(status).phrase, detail=detail)
    return Response(page, status)


def for_programs() -> bool:
    """Whether the request comes from a program, or from the script of a page."""
    path = request.path
    return path.startswith("/api/") or path in ("/healthz", "/readyz", "/metrics") or "fragment" in request.args
