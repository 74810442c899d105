"""The output of a run."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from tracker.store import logs, runs
from tracker.store.logs import LogTail
from tracker.terminal import plain
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import NoQuery
from web.context import db, viewer

output = Blueprint("output", __name__, url_prefix="/runs")


class LogQuery(NoQuery):
    """Which output stream, how many lines of its end, and whether as a terminal would show them, in plain text."""

    stream: Literal["stdout", "stderr"] = "stdout"
    tail: int = Field(200, ge=1, le=100_000)
    format: Literal["json", "text"] = "json"


class LogEnd(BaseModel):
    """The end of an output stream; `complete` when no more will come, `truncated` when there was more before it.

    `left_out_bytes` of the stream came too fast; a line in the text stands where they were.
    """

    model_config = ConfigDict(from_attributes=True)
    text: str
    path: str
    complete: bool
    problem: str | None
    truncated: bool
    left_out_bytes: int

    @classmethod
    def of(cls, tail: LogTail) -> LogEnd:
        """The end as the store has it."""
        return cls.model_validate(tail)


@output.get("/<run:ident>/log")
@described({"application/json": LogEnd, "text/plain": None}, query=LogQuery)
def tail(ident: str) -> ResponseReturnValue:
    """The end of an output stream."""
    asked = read_query(LogQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = logs.tail(session, run.id, asked.stream, asked.tail)
    if asked.format == "text":
        return Response(plain(found.text), content_type="text/plain; charset=utf-8")
    return answer(LogEnd.of(found))
