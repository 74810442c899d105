"""One run: its state, its charts, its attempts, what it was given and what it prints."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from tracker.actions.explain import HARDWARE, explain, last_words
from tracker.actions.read_job import read_job
from tracker.states import FINAL_STATES
from tracker.store import captures, logs, params, writers
from tracker.store import runs as store
from tracker.store import timeline as store_timeline
from tracker.store.tables import Log, Run, Summary
from web.context import db, now, viewer
from web.pages import live
from web.pages.things import things
from web.pages.timeline import picture
from web.pages.view import View

run = Blueprint("run", __name__)

MOST_PIECES = 16  # of an output stream that a page shows, up to 8 KiB each
SETTLED_EVERY_S = 10
OUTPUT_IS_LATE_AFTER = timedelta(minutes=1)  # its agent may be away


@run.get("/runs/<run:ident>")
def show(ident: str) -> ResponseReturnValue:
    """The run's page."""
    with db().read() as session:
        found = store.get(session, viewer(), ident)
        notes = params.notes(session, found)
        beside = things(session, found.id)
        logged = writers.logged(session, found.id)
        code = captures.heads(session, found)
        told = store_timeline.read(session, found)
        explanation = explain(found, last_words(session, found))
        reading = read_job(session, viewer(), found, now())
        # A page that is fresh already asks for new output itself.
        output, pieces = logs.ends(session, found.id, 0 if "fragment" in request.args else MOST_PIECES)
    return live.answer(
        "run", every_s=SETTLED_EVERY_S if _is_settled(found, output) else 1, run=found, groups=_groups(found),
        notes=notes, explanation=explanation, reading=reading, output=output, pieces=pieces, captures=code,
        **beside, ended=found.state in FINAL_STATES, view=View.asked(), logged=logged, timeline=picture(told, now()),
    )  # fmt: skip


@run.get("/runs/<run:ident>/output")
def output(ident: str) -> ResponseReturnValue:
    """The last pieces of an output stream from number `from` on, for a page that shows those before."""
    first = request.args.get("from", 0, type=int)
    with db().read() as session:
        found = store.get(session, viewer(), ident)
        pieces = logs.ends(session, found.id, MOST_PIECES, min(first, 2**62))[1].get(request.args.get("stream", ""), [])
    response = Response(render_template("run_pieces.html", pieces=pieces))
    response.add_etag()
    return response.make_conditional(request)


def _is_settled(found: Run, output: list[Log]) -> bool:
    """Say whether little more is to come: the last lines of the output are read after the state is known."""
    if found.state not in FINAL_STATES or found.accounting_due:
        return False
    long_ago = datetime.now(tz=timezone.utc) - OUTPUT_IS_LATE_AFTER
    return all(log.complete for log in output) or found.ended_at is None or found.ended_at < long_ago


def _groups(found: Run) -> dict[str, list[Summary]]:
    """The metrics, those that the script logged apart from those of the machine."""
    machine = [one for one in found.summary if one.metric.startswith(HARDWARE)]
    return {"own": [one for one in found.summary if one not in machine], "machine": machine}
