"""What the scripts of a run were when they started."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict

from tracker.store import captures as store
from tracker.store import runs
from tracker.store.captures import Captured
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import NoQuery, Time
from web.context import db, viewer

captures = Blueprint("captures", __name__, url_prefix="/runs")


class Script(BaseModel):
    """The batch script; so many of its lines looked like secrets and are hidden."""

    text: str = ""
    hidden_lines: int = 0


class Git(BaseModel):
    """The code: `diff` is from the commit to the files that ran, without those of `not_in_diff`, told why."""

    root: str | None = None
    branch: str | None = None
    commit: str | None = None
    remote: str | None = None
    dirty: bool | None = None
    diff: str | None = None
    changed: list[str] = []
    not_in_diff: dict[str, str] = {}
    untracked: list[str] = []
    notes: list[str] = []


class Python(BaseModel):
    """The interpreter."""

    version: str | None = None
    implementation: str | None = None
    executable: str | None = None
    prefix: str | None = None


class Conda(BaseModel):
    """The conda environment."""

    name: str | None = None
    prefix: str | None = None


class Container(BaseModel):
    """The container and, where it tells, its image."""

    kind: str | None = None
    image: str | None = None


class Host(BaseModel):
    """The machine; `cpus` are those that the script could use."""

    name: str | None = None
    system: str | None = None
    machine: str | None = None
    cpus: int | None = None


class Capture(BaseModel):
    """What a script was when it started (docs/spool.md). `writer` is its spool file, `notes` tell what is unknown."""

    model_config = ConfigDict(extra="ignore")
    writer: str
    captured_at: Time
    attempt: int
    argv: list[str] = []
    cwd: str | None = None
    script: Script | None = None
    git: Git | None = None
    python: Python | None = None
    packages: list[str] = []
    modules: list[str] = []
    conda: Conda | None = None
    venv: str | None = None
    container: Container | None = None
    host: Host | None = None
    env: dict[str, str] = {}
    notes: list[str] = []

    @classmethod
    def of(cls, found: Captured) -> Capture:
        """The capture as the store has it."""
        return cls(writer=found.writer, captured_at=found.captured_at, attempt=found.attempt, **found.content)


class CaptureList(BaseModel):
    """All captures of a run, the first one first."""

    items: list[Capture]
    next_cursor: str | None = None


@captures.get("/<run:ident>/capture")
@described(CaptureList)
def find(ident: str) -> ResponseReturnValue:
    """What the run's scripts were."""
    read_query(NoQuery)
    with db().read() as session:
        found = store.find(session, runs.get(session, viewer(), ident))
    return answer(CaptureList(items=[Capture.of(one) for one in found]))
