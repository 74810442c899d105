"""Pages that stay fresh: the page's script asks for the part that changes when news come, or each second."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Response, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.context import now, viewer


def answer(name: str, *, every_s: int = 1, **facts: Any) -> ResponseReturnValue:
    """The page `name`, or with `?fragment=1` only its part that changes; 304 to those who have that already.

    A fragment shows no ages of things: they change each second, and the page's script counts them itself.
    """
    fragment = "fragment" in request.args
    facts.update(name=name, fragment=fragment, now=now(), viewer=viewer(), fragment_url=here(fragment="1"))
    if not fragment:
        return Response(render_template(f"{name}.html", **facts))
    response = Response(render_template(f"{name}.live.html", **facts))
    response.headers["Poll-After"] = str(every_s)
    response.add_etag()
    return response.make_conditional(request)


def here(**changed: str | None) -> str:
    """The address of this page with other query parameters; None takes one away."""
    asked = {name: values for name, values in request.args.lists() if name != "fragment"} | changed
    kept = {name: values for name, values in asked.items() if values is not None}
    return f"{url_for(request.endpoint or '', **(request.view_args or {}))}?{urlencode(kept, doseq=True)}"
