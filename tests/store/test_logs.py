"""Output is kept in pieces: the last bytes of it, once, whatever happens to its file."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event, text

from tests.agent_side import Agent, hook
from tracker.store import experiments, levels, logs, runs
from tracker.store.database import Database
from tracker.store.logs import Delivery
from tracker.store.tables import LogPiece, Run
from tracker.terminal import condensed

KEEP = 100_000


class Stream:
    """The standard output of a run, as an agent sends it."""

    def __init__(self, db: Database) -> None:
        self.db = db
        Agent(db).send(hook("prolog", 12, at=1.7e9))
        with db.write() as session:
            logs.expect(session, [logs.Output(self.run(session).id, "stdout", "/home/alice/out", "n1", 1001)])

    def run(self, session: object) -> Run:
        run = runs.of_job(session, "dev", 12, datetime.now(timezone.utc))  # type: ignore[arg-type]
        assert run is not None
        return run

    def send(self, offset: int, content: bytes, **more: object) -> None:
        with self.db.write() as session:
            sent = Delivery(offset, content, **{"eof": True, **more})  # type: ignore[arg-type]
            now = datetime.now(timezone.utc)
            logs.store(session, self.run(session), "stdout", sent, now=now, keep_bytes=KEEP)

    def pieces(self) -> list[LogPiece]:
        with self.db.read() as session:
            return logs.ends(session, self.run(session).id, 10_000)[1]["stdout"]

    def tail(self, lines: int = 100_000) -> logs.LogTail:
        with self.db.read() as session:
            return logs.tail(session, self.run(session).id, "stdout", lines)


@pytest.fixture
def stream(db: Database) -> Stream:
    return Stream(db)


def test_the_last_bytes_are_kept_in_lines_that_are_whole(stream: Stream) -> None:
    raw = b"".join(b"line %d\n" % number for number in range(40_000))
    for start in range(0, len(raw), 50_000):
        stream.send(start, raw[start : start + 50_000])
    kept = b"".join(piece.content for piece in stream.pieces())
    assert raw.endswith(kept)
    assert KEEP <= len(kept) <= KEEP + logs.PIECE_BYTES
    assert all(piece.content.startswith(b"line ") for piece in stream.pieces())
    assert stream.tail(2).text == "line 39998\nline 39999\n"
    assert stream.tail().truncated
    assert stream.tail().left_out_bytes == 0


def test_a_line_costs_its_own_length_and_not_all_that_is_kept(stream: Stream) -> None:
    stream.send(0, b"x" * 99 * 1000 + b"\n")
    written: list[int] = []

    def count(*seen: Any) -> None:
        given = seen[3].values() if isinstance(seen[3], dict) else seen[3]
        written.append(
            sum(
                len(getattr(one, "adapted", one))
                for one in given
                if one is not None and not isinstance(one, (int, str))
            )
        )

    offset = 99_001
    event.listen(stream.db.engine, "before_cursor_execute", count)
    for number in range(100):
        line = b"line %d\n" % number
        stream.send(offset, line)
        offset += len(line)
    assert stream.tail(1).text == "line 99\n"
    assert sum(written) <= 100 * logs.PIECE_BYTES
    assert len(written) <= 100 * 12


def test_what_is_sent_twice_is_stored_once(stream: Stream) -> None:
    for _ in range(2):
        stream.send(0, b"one\n", after_bytes=0)
        stream.send(0, b"one\n")
        stream.send(0, b"one\ntwo\n")
        stream.send(8, b"three\n", after_bytes=8)
    assert stream.tail().text == "one\ntwo\nthree\n"
    for _ in range(2):
        stream.send(0, b"new\n", after_bytes=14, anew=True)
    assert stream.tail().text == "one\ntwo\nthree\n[the file was written anew]\nnew\n"


def test_what_came_too_fast_is_counted_and_its_place_is_shown(stream: Stream) -> None:
    stream.send(0, b"begin")
    stream.send(1005, b"end\n")
    told = stream.tail()
    assert (told.text, told.left_out_bytes) == ("begin\n[1000 bytes left out]\nend\n", 1000)


def test_a_progress_bar_takes_no_room(stream: Stream) -> None:
    stream.send(0, b"epoch 1\n")
    offset = 8
    for step in range(500):
        bar = "\r\x1b[32m{:3}%\x1b[0m|{}|".format(step // 5, "█" * (step // 10)).encode()
        stream.send(offset, bar)
        offset += len(bar)
    stream.send(offset, b"\nepoch 2\n")
    (piece,) = stream.pieces()
    assert piece.content.decode() == "epoch 1\n\x1b[32m 99%\x1b[0m|" + "█" * 49 + "|\nepoch 2\n"


def test_bars_below_each_other_keep_their_last_state_wherever_they_are_cut(stream: Stream) -> None:
    up = "\r\x1b[2K\x1b[1A\x1b[2K"
    rich = "begin\n" + "".join((up if step else "") + f"one {step}\ntwo {step}" for step in range(200)) + "\nend\n"
    tqdm = "".join(f"\rone {step}\n\rtwo {step}\x1b[A" for step in range(200)) + "\n\nend\n"
    for printed, shown in ((rich, "begin\none 199\ntwo 199\nend\n"), (tqdm, "one 199\ntwo 199\nend\n")):
        for length in (1, 3, 17, 4000):
            kept = b""
            for start in range(0, len(printed), length):
                kept = condensed(kept + printed[start : start + length].encode())
            assert kept.decode() == shown


def test_a_file_written_anew_again_and_again_is_bounded(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_PIECES", 10)
    for _ in range(50):
        stream.send(0, b"x\n", anew=True)
    assert len(stream.pieces()) == 10
    assert stream.tail().truncated


def test_a_long_line_of_any_letters_loses_none(stream: Stream) -> None:
    stream.send(0, "日本語".encode() * 5000)
    assert stream.tail().text == "日本語" * 5000
    assert all(piece.content.decode() for piece in stream.pieces())


def test_output_of_the_form_before_becomes_a_piece(database_url: str) -> None:
    database = Database(database_url)
    levels.upgrade(database_url, "0004")
    with database._writing.begin() as connection:
        for statement in (
            "INSERT INTO experiments (id, name, created_at) VALUES ('e', 'e', 0)",
            "INSERT INTO runs (id, experiment_id, created_at, updated_at, state, state_source, accounting_due,"
            " restarts, gpus_requested) VALUES ('r', 'e', 0, 0, 'RUNNING', 'hook', false, 0, 0)",
        ):
            connection.execute(text(statement))
        add = text(
            "INSERT INTO logs (run_id, stream, path, offset_bytes, content, complete)"
            " VALUES ('r', :stream, '/o', :offset, :content, false)"
        )
        connection.execute(add, {"stream": "stdout", "offset": 1000, "content": b"kept\n"})
        connection.execute(add, {"stream": "stderr", "offset": 0, "content": b""})
    database.upgrade()
    with database.read() as session:
        (out, err), _ = logs.ends(session, "r", 0)
        assert (out.offset_bytes, out.kept_bytes, out.pieces, out.left_out_bytes) == (1005, 5, 2, 0)
        assert (err.offset_bytes, err.pieces) == (0, 0)
        told = logs.tail(session, "r", "stdout", 10)
        assert (told.text, told.truncated) == ("kept\n", True)
    database.close()


def test_of_streams_without_an_end_only_the_newest_are_read(db: Database) -> None:
    """Some ended years ago and their files are gone; an agent asks every few seconds."""
    now = datetime.now(timezone.utc)
    with db.write() as session:
        experiment = experiments.named(session, experiments.DEFAULT, now)
        for job in range(1, logs.MOST_FOLLOWED + 51):
            run = runs.add(
                session, experiment=experiment, now=now - timedelta(days=job), state="COMPLETED", state_source="hooks",
                cluster="dev", job_id=job,
            )  # fmt: skip
            logs.expect(session, [logs.Output(run.id, "stdout", f"/out/{job}", "n1", 1001)])
    with db.read() as session:
        asked = {"clusters": ["dev"], "nodes": ["n1"]}
        assert len(session.execute(logs._OF_NODES, asked).all()) == logs.MOST_FOLLOWED
        found = logs.followed(session, {("dev", "n1")})["dev", "n1"]
        assert [one.job_id for one in found] == list(range(1, logs.MOST_FOLLOWED + 1))
