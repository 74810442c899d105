"""What the scripts of a run were: code, command lines and surroundings. The run's page asks for it when opened."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from tracker.errors import NotFound
from tracker.store import captures as store
from tracker.store import runs
from tracker.store.captures import Captured
from tracker.store.tables import Run
from web.context import db, viewer

captures = Blueprint("captures", __name__)


class DiffLine(NamedTuple):
    """A line of a diff and what it is: `file`, `hunk`, `added`, `removed` or nothing of these."""

    kind: str
    text: str


@captures.get("/runs/<run:ident>/code")
def show(ident: str) -> ResponseReturnValue:
    """All captures of a run, or that of one writer; with `?fragment=1` only the part that the run's page shows."""
    run, found = _asked(ident)
    template = "captures.part.html" if "fragment" in request.args else "captures.html"
    response = Response(render_template(template, run=run, captures=found, viewer=viewer()))
    response.add_etag()
    return response.make_conditional(request)


@captures.get("/runs/<run:ident>/code.diff")
def diff(ident: str) -> ResponseReturnValue:
    """The diff of one writer as it was captured, for `git apply`."""
    _, found = _asked(ident)
    text = found[0].content.get("git", {}).get("diff") if found else None
    if not text:
        raise NotFound("There is no diff.")
    response = Response(text, content_type="text/plain; charset=utf-8")
    response.headers["Content-Disposition"] = "attachment; filename=run.diff"
    return response


def _asked(ident: str) -> tuple[Run, list[Captured]]:
    writer = request.args.get("writer")
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        # No writer is named with a NUL, which databases do not take.
        found = store.find(session, run, None if writer is None else writer.replace("\0", "")[:64])
    return run, found


def command_line(argv: list[str]) -> str:
    """The words as one types them into a shell."""
    return shlex.join(argv)


def diff_lines(diff: str) -> list[DiffLine]:
    """The lines of a diff in git's form."""
    told, in_hunk = [], False
    for text in diff.removesuffix("\n").split("\n"):
        if text.startswith("diff --git "):
            in_hunk, kind = False, "file"
        elif text.startswith("@@"):
            in_hunk, kind = True, "hunk"
        else:
            kind = {"+": "added", "-": "removed"}.get(text[:1], "") if in_hunk else "file"
        told.append(DiffLine(kind, text))
    return told
