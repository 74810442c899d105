"""Files and folders that a run made."""

from __future__ import annotations

import os

from flask import Blueprint, send_file
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from tracker.actions.read_copy import open_copy
from tracker.store import artifacts as store
from tracker.store import runs
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import NoQuery, Time
from web.context import db, settings, viewer
from web.headers import FOREVER, NOTHING_BUT_ITSELF
from web.text import harmless

artifacts = Blueprint("artifacts", __name__, url_prefix="/runs")


class ArtifactsQuery(NoQuery):
    """How many, the last ones."""

    limit: int = Field(store.MOST_ARTIFACTS, ge=1, le=store.MOST_ARTIFACTS)


class File(BaseModel):
    """A file of a folder; `sha256` is null where it was not computed."""

    path: str
    size_bytes: int
    sha256: str | None


class Artifact(BaseModel):
    """A file or, where `file_count` is not null, a folder.

    `path` is where it lay, `copied_to` the store that keeps its content by the digest. `sha256` of a folder is that of
    its manifest, which `sha256sum` prints; it is null where it was not computed: `problem` may tell why.
    """

    model_config = ConfigDict(from_attributes=True)
    id: str
    name: str
    path: str
    size_bytes: int
    modified_at: Time | None
    logged_at: Time
    step: int | None
    sha256: str | None
    copied_to: str | None
    problem: str | None
    file_count: int | None


class ArtifactWithFiles(Artifact):
    """An artifact, and the first 200 files of a folder."""

    files: list[File]


class ArtifactList(BaseModel):
    """Artifacts, the one logged last first."""

    items: list[Artifact]
    next_cursor: str | None = None


@artifacts.get("/<run:ident>/artifacts")
@described(ArtifactList, query=ArtifactsQuery)
def find(ident: str) -> ResponseReturnValue:
    """The artifacts of a run."""
    asked = read_query(ArtifactsQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = store.find(session, run.id, asked.limit)
    return answer(ArtifactList(items=[Artifact.model_validate(one) for one in found]))


@artifacts.get("/<run:ident>/artifacts/<run:artifact>")
@described(ArtifactWithFiles)
def get(ident: str, artifact: str) -> ResponseReturnValue:
    """One artifact, with its files."""
    read_query(NoQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = store.get(session, run.id, artifact)
    return answer(ArtifactWithFiles.model_validate(found))


@artifacts.get("/<run:ident>/artifacts/<run:artifact>/content")
@described({"application/octet-stream": None})
def content(ident: str, artifact: str) -> ResponseReturnValue:
    """The content of a copy that this server can read; of a folder its manifest."""
    read_query(NoQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = store.get(session, run.id, artifact)
    file = open_copy(settings().artifacts_path, run, found)
    response = send_file(
        file, "application/octet-stream", as_attachment=True, etag=found.sha256 or False,
        download_name=harmless(" ".join(found.name.rsplit("/", 1)[-1].split())) or "artifact",
    )  # fmt: skip
    if response.status_code == 200:
        response.content_length = os.fstat(file.fileno()).st_size
    response.headers["Cache-Control"] = FOREVER
    response.headers["Content-Security-Policy"] = NOTHING_BUT_ITSELF
    return response
