"""What lines tell of artifacts and media is kept once, checked, and bounded. Nothing in them is trusted."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.actions.test_ingest import JOB, only_run
from tests.agent_side import ADMIN, Agent, lines, points
from tracker.errors import NotFound
from tracker.store import artifacts, media, params, runs, twins
from tracker.store.database import Database
from tracker.store.tables import Artifact, Medium

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
DIGEST = "ab" * 32


def image(name: str = "sample", step: int | None = 0, raw: bytes = PNG, **more: Any) -> dict[str, Any]:
    told = {"event": "media", "kind": "image", "name": name, "data": base64.b64encode(raw).decode(), "time": 1.7e9}
    return told | ({} if step is None else {"step": step}) | more


def histogram(step: int, **more: Any) -> dict[str, Any]:
    told = {"event": "media", "kind": "histogram", "name": "weights", "step": step, "time": 1.7e9}
    return told | {"low": -1, "high": 1.5, "counts": [step, 2, 3]} | more


def artifact(**more: Any) -> dict[str, Any]:
    told = {"event": "artifact", "id": "a1", "name": "model.pt", "path": "/scratch/model.pt", "size_bytes": 7}
    return told | {"mtime": 1.7e9, "time": 1.7e9 + 1} | more


def kept(db: Database) -> list[Medium]:
    with db.read() as session:
        return [one.medium for one in media.find(session, only_run(db).id)]


def only_artifact(db: Database) -> Artifact:
    with db.read() as session:
        (one,) = artifacts.find(session, only_run(db).id, 10)
        return artifacts.get(session, one.run_id, one.id)


def notes(db: Database) -> dict[str, str]:
    with db.read() as session:
        return {note.key: note.reason for note in params.notes(session, only_run(db))}


def test_media_delivered_twice_are_kept_once(db: Database) -> None:
    part = lines(JOB, *points(3), image(step=None), histogram(1), image("other", 5))
    Agent(db).send(part)
    Agent(db).send(part)
    assert [(one.kind, one.name, one.step, one.size_bytes) for one in kept(db)] == [
        ("histogram", "weights", 1, len(b'{"low":-1.0,"high":1.5,"counts":[1,2,3],"not_finite":{}}')),
        ("image", "other", 5, len(PNG)),
        ("image", "sample", 2, len(PNG)),
    ]
    with db.read() as session:
        found = media.get(session, only_run(db).id, kept(db)[1].id)
    assert (found.content, found.content_type) == (PNG, "image/png")


def test_media_in_the_midst_of_a_file_have_places_of_their_own(db: Database) -> None:
    first, raw = lines(JOB, image("a"))
    held = Agent(db).send((first, raw))["parts"][0]["offset"]
    Agent(db).send(lines(JOB, image("b"), image("c"), offset=held))
    Agent(db).send(lines(JOB, image("d"), writer="w2"))
    assert sorted((one.writer, one.offset_bytes) for one in kept(db)) == [
        ("w1", 0), ("w1", held), ("w1", held + len(json.dumps(image("b"))) + 1), ("w2", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "raw", [b"", b"<svg onload=alert(1)>", b"<html><script>alert(1)</script>", b"GIF", b"RIFF1234WAVE", b"%PDF-1.7"]
)
def test_what_begins_like_no_image_is_not_kept(db: Database, raw: bytes) -> None:
    Agent(db).send(lines(JOB, image("x", raw=raw)))
    assert kept(db) == []
    assert "begin like no PNG" in notes(db)["x"]


def test_nothing_in_a_line_is_believed(db: Database) -> None:
    odd = [
        {"event": "media"}, {"event": "media", "kind": {}, "name": []}, image(kind="video"),
        image(data="*** no base64"), image(data=5), image(name=None), image(name="\0"),
        histogram(1, counts=5), histogram(1, low="x"), histogram(1, low=2, high=1), histogram(1, counts=[-1]),
        histogram(1, counts=["a"]), histogram(1, counts=[1] * 1000), histogram(1, high="Infinity"),
        {"event": "media", "kind": "table", "name": "t"},
        {"event": "media", "kind": "table", "name": "t", "columns": [], "rows": []},
        {"event": "artifact"}, {"event": "artifact", "name": "x"}, artifact(name={}), artifact(path=3),
    ]  # fmt: skip
    Agent(db).send(lines(JOB, *odd, *points(1)))
    assert kept(db) == []
    assert len(notes(db)) >= 5
    assert only_run(db).summary[0].count == 1


def test_strange_values_are_made_harmless(db: Database) -> None:
    cells = [None, True, 1, 0.5, "NaN", 2**70, "a\0b", {"deep": [1]}, "x" * 9999]
    table = {
        "event": "media",
        "kind": "table",
        "name": "t",
        "columns": ["c", 5, None],
        "rows": [[c] for c in cells] + [3],
    }
    files = [{"path": "w", "size_bytes": "many", "sha256": "short"}, "no file", {"path": 5}]
    strange = artifact(size_bytes=-5, mtime="x", step="y", sha256="../../etc", file_count=-1, files=files)
    Agent(db).send(
        lines(JOB, table, histogram(2**70, counts=[4], not_finite={"NaN": 2, "x": 1, "Infinity": -1}), strange)
    )
    with db.read() as session:
        run_id = only_run(db).id
        shown = {one.kind: json.loads(media.get(session, run_id, one.id).content) for one in kept(db)}
    assert shown["table"]["columns"] == ["c", "5", "None"]
    assert [row[0] for row in shown["table"]["rows"]] == [
        None, True, 1, 0.5, "NaN", float(2**70), "ab", '{"deep":[1]}', "x" * 2000,
    ]  # fmt: skip
    assert shown["histogram"]["not_finite"] == {"NaN": 2}
    told = only_artifact(db)
    assert (told.size_bytes, told.step, told.sha256, told.file_count) == (0, None, None, 0)
    assert told.files == [{"path": "w", "size_bytes": 0, "sha256": None}]


def test_a_later_line_completes_an_artifact(db: Database) -> None:
    Agent(db).send(lines(JOB, artifact(), artifact(id="a2", name="other")))
    Agent(db).send(lines(JOB, artifact(sha256=DIGEST, copied_to="/store"), writer="w2"))
    with db.read() as session:
        found = {one.id: one for one in artifacts.find(session, only_run(db).id, 10)}
    assert (found["a1"].sha256, found["a1"].copied_to, found["a2"].sha256) == (DIGEST, "/store", None)


def test_an_artifact_of_another_program_needs_no_id(db: Database) -> None:
    told = {"event": "artifact", "name": "data", "path": "/data"}
    Agent(db).send(lines(JOB, told, {**told, "size_bytes": 5}))
    assert (only_artifact(db).id, only_artifact(db).size_bytes) == ("data", 5)


def test_a_run_cannot_have_artifacts_and_media_without_end(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MOST_MEDIA", 5)
    monkeypatch.setattr(media, "MOST_BYTES", 200)
    monkeypatch.setattr(artifacts, "MOST_ARTIFACTS", 3)
    part, raw = lines(JOB, *(artifact(id=f"a{number}") for number in range(5)), *(image(step=n) for n in range(4)))
    held = Agent(db).send((part, raw))["parts"][0]["offset"]
    more = (image(step=9), image(step=10), artifact(id="a1", sha256=DIGEST), artifact(id="a9"))
    Agent(db).send(lines(JOB, *more, offset=held))
    with db.read() as session:
        run_id = only_run(db).id
        assert artifacts.count(session, run_id) == 3
        assert artifacts.get(session, run_id, "a1").sha256 == DIGEST
    assert [one.step for one in kept(db)] == [0, 1, 2, 3, 9]
    assert set(notes(db)) == {"artifacts", "images, histograms and tables"}
    Agent(db).send(lines(JOB, image("large", raw=PNG + b"x" * 150), writer="w2"))
    assert len(kept(db)) == 5


def test_what_is_shown_is_of_the_lowest_rank_and_the_last_of_a_step(db: Database) -> None:
    for rank in (1, 0):
        header = {"event": "writer", "version": 1, "rank": rank, "time": 1.7e9}
        said = [histogram(step, counts=[rank, step], time=1.7e9 + step) for step in range(4)]
        again = histogram(3, counts=[rank, 33], time=1.7e9 + 9)
        Agent(db).send(lines(JOB, header, *said, again, image(step=7, raw=PNG + b"%d" % rank), writer=f"w{rank}"))
    with db.read() as session:
        run_id = only_run(db).id
        shown = media.shown(session, run_id, 10)
        assert [(one.kind, one.name, one.count, one.last_step) for one in shown] == [
            ("histogram", "weights", 10, 3), ("image", "sample", 2, 7),
        ]  # fmt: skip
        assert media.get(session, run_id, shown[1].last_id).content == PNG + b"0"
        assert json.loads(media.get(session, run_id, shown[0].last_id).content)["counts"] == [0, 33]
        drawn = media.histograms(session, run_id, "weights", 100)
        assert (drawn.steps, [one["counts"] for one in drawn.histograms]) == (
            [0, 1, 2, 3],
            [[0, 0], [0, 1], [0, 2], [0, 33]],
        )
        assert media.histograms(session, run_id, "weights", 2).steps[-1] == 3
        assert len(media.histograms(session, run_id, "weights", 2).steps) == 2
        for none in ("w0", "w0.5", "w0.-1", "w0.x", "w0." + "9" * 30, ".", ""):
            with pytest.raises(NotFound):
                media.get(session, run_id, none)


def test_what_a_requeued_attempt_logs_again_takes_the_place_of_the_earlier(db: Database) -> None:
    for restarts, steps in ((0, range(6)), (1, range(3, 5))):
        header = {"event": "writer", "version": 1, "rank": 0, "restart_count": restarts, "time": 1.7e9}
        said = [histogram(step, counts=[restarts, step], time=1.7e9 + 100 * restarts + step) for step in steps]
        Agent(db).send(lines(JOB, header, *points(1), *said, writer=f"w{restarts}"))
    with db.read() as session:
        run_id = only_run(db).id
        (shown,) = media.shown(session, run_id, 10)
        assert (shown.count, shown.last_step, shown.last_id.partition(".")[0]) == (8, 4, "w1")
        found = [(one.medium.step, one.attempt) for one in media.find(session, run_id) if one.is_shown]
        assert found == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)]
        drawn = media.histograms(session, run_id, "weights", 100)
        assert [one["counts"] for one in drawn.histograms] == [[0, 0], [0, 1], [0, 2], [1, 3], [1, 4]]


def test_two_runs_that_are_one_share_what_they_logged(db: Database) -> None:
    for job, writer in (("dev.12", "w1"), ("dev.13", "w2")):
        Agent(db).send(lines(job, image(writer), artifact(), artifact(id=writer), writer=writer))
    with db.write() as session:
        one, other = (runs.get(session, ADMIN, name) for name in ("dev:12", "dev:13"))
        twins.absorb(session, [(other, one)])
    assert {medium.name for medium in kept(db)} == {"w1", "w2"}
    with db.read() as session:
        assert {found.id for found in artifacts.find(session, one.id, 10)} == {"a1", "w1", "w2"}
