"""What the server makes of what agents send."""

from __future__ import annotations

import math
import threading
import time
from datetime import datetime, timezone
from typing import Any

import pytest
from sqlalchemy import event, func, select

from tests.agent_side import ADMIN, NODE, Agent, hook, lines, points
from tracker.actions.ingest import Door
from tracker.errors import BadManifest, Forbidden, NotFound
from tracker.events import MAX_LINE_BYTES, encode_request
from tracker.store import charts, logs, params, runs, series, summaries
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.tables import Run

JOB = "dev.12"


def only_run(db: Database) -> Run:
    with db.read() as session:
        (run,) = runs.find(session, ADMIN).items
    return run


def test_a_prolog_makes_a_running_run_with_its_node_and_gpus(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=1.7e9, SLURM_JOB_GPUS="0,2", SLURM_JOB_ACCOUNT="phys"))
    run = only_run(db)
    assert (run.state, run.state_source, run.user, run.account) == ("RUNNING", "hook", "alice", "phys")
    (attempt,) = run.attempts
    assert (attempt.number, attempt.nodes) == (1, "n1")
    assert [(gpu.node, gpu.index) for gpu in attempt.gpus] == [("n1", 0), ("n1", 2)]


def test_events_delivered_twice_change_nothing(db: Database) -> None:
    parts = (hook("prolog", 12, at=1.7e9), lines(JOB, *points(10)), hook("epilog", 12, at=1.7e9 + 5))
    first = Agent(db).send(*parts)
    again = Agent(db).send(*parts)
    assert first["parts"] == again["parts"]
    run = only_run(db)
    assert (len(run.attempts), run.summary[0].count) == (1, 10)


def test_hooks_of_two_nodes_belong_to_one_attempt(db: Database) -> None:
    Agent(db, "n1").send(hook("prolog", 12, at=1.7e9))
    Agent(db, "n2").send(hook("prolog", 12, at=1.7e9 + 0.1, SLURM_JOB_GPUS="1"))
    (attempt,) = only_run(db).attempts
    assert attempt.nodes == "n[1-2]"


def test_two_nodes_at_the_same_moment_make_one_run(db: Database) -> None:
    senders = [
        threading.Thread(target=Agent(db, f"n{number}").send, args=(hook("prolog", job, at=1.7e9),))
        for job in range(1, 6)
        for number in range(1, 4)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    with db.read() as session:
        found = runs.find(session, ADMIN).items
    assert sorted(run.job_id for run in found) == [1, 2, 3, 4, 5]
    assert {run.attempts[0].nodes for run in found} == {"n[1-3]"}


def test_an_epilog_ends_a_run_when_nobody_asks_slurm(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=1.7e9), hook("epilog", 12, at=1.7e9 + 9, SLURM_JOB_EXIT_CODE2="3:0"))
    run = only_run(db)
    assert (run.state, run.state_source, run.exit_code, run.accounting_due) == ("FAILED", "hook", 3, True)


def test_a_second_prolog_after_an_epilog_is_a_second_attempt(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=1.7e9), hook("epilog", 12, at=1.7e9 + 5))
    Agent(db).send(hook("prolog", 12, at=1.7e9 + 60, pid=2, SLURM_JOB_RESTART_COUNT=1))
    assert [attempt.number for attempt in only_run(db).attempts] == [1, 2]


def test_a_deleted_run_takes_what_its_processes_still_write_and_stays_deleted(db: Database) -> None:
    folder = f"local.{'a' * 32}"
    held = Agent(db).send(lines(folder, *points(5), {"event": "finish", "exit_code": 0}))["parts"][0]["offset"]
    with db.write() as session:
        runs.remove(session.scalars(select(Run)).one(), datetime.now(timezone.utc))
    answer = Agent(db).send(lines(folder, *points(5, first=5), offset=held), folders=(folder,))
    assert answer["parts"][0]["offset"] > held
    assert answer["release"] == [folder]
    with db.read() as session:
        assert runs.find(session, ADMIN).items == []
        assert session.scalar(select(func.count()).select_from(Run)) == 1


def test_points_that_overlap_what_is_stored_are_not_doubled(db: Database) -> None:
    part, raw = lines(JOB, *points(10))
    half = raw[: raw.index(b"\n", len(raw) // 2) + 1]
    held = Agent(db).send((part, half))["parts"][0]["offset"]
    assert held == len(half)
    assert Agent(db).send((part, raw))["parts"][0] == {"offset": held}  # not from where the stored ones end
    rest = ({**part, "offset": held}, raw[held:])
    assert Agent(db).send(rest)["parts"][0] == {"offset": len(raw)}
    assert only_run(db).summary[0].count == 10


def test_a_torn_last_line_waits_for_its_end(db: Database) -> None:
    part, raw = lines(JOB, *points(2))
    assert Agent(db).send((part, raw[:-3]))["parts"][0]["offset"] == raw.index(b"\n") + 1
    assert only_run(db).summary[0].count == 1


def test_values_come_back_as_they_were(db: Database) -> None:
    values = [0.1, -1e308, 5e-324, "NaN", "Infinity", "-Infinity", 3, True]
    Agent(db).send(lines(JOB, *({"metrics": {"x": value}, "step": step} for step, value in enumerate(values))))
    run = only_run(db)
    with db.read() as session:
        read = charts.read(session, run.id, "x").curve.y.tolist()
    assert read[:3] == [0.1, -1e308, 5e-324]
    assert math.isnan(read[3])
    assert read[4:] == [math.inf, -math.inf, 3.0, 1.0]


def test_steps_count_on_when_none_is_given(db: Database) -> None:
    said = [{"metrics": {"x": 1}}, {"metrics": {"x": 2}, "step": 10}, {"metrics": {"x": 3}}]
    Agent(db).send(lines(JOB, *said))
    with db.read() as session:
        assert charts.read(session, only_run(db).id, "x").curve.x.tolist() == [0, 10, 11]


def test_lines_that_are_none_of_ours_are_told_and_harm_nothing(db: Database) -> None:
    hostile = [b"garbage", b"[1]", b'{"metrics": 3}', b'{"event": "nope"}', b"\xff\xfe", b'{"event": {}}', b"1" * 5000]
    hostile += [b'{"metrics":{"a":1},"step":99999999999999999999999}', b'{"metrics":{"a":1},"step":"x"}']
    hostile += [b"[" * 100_000, b'{"metrics":' * 3000]
    Agent(db).send(lines(JOB, *hostile, {"metrics": {"ok": 1, "word": "hello"}, "step": 0}))
    run = only_run(db)
    assert [one.metric for one in run.summary] == ["ok"]
    with db.read() as session:
        told = {note.key: note.reason for note in params.notes(session, run)}
    assert told == {"file w1": f"{len(hostile)} lines are not in our format", "word": "str is no number"}


def test_hostile_names_are_kept_harmlessly(db: Database) -> None:
    names = [
        "a\0b",
        "<script>",
        "x" * 5000,
        "'; DROP TABLE runs; --",
        "‮evil",
        "\ud800".encode("utf-8", "replace").decode(),
    ]
    Agent(db).send(
        lines(JOB, {"metrics": dict.fromkeys(names, 1.0), "step": 0}, {"event": "params", "params": {"\0": "\0"}})
    )
    kept = {one.metric for one in only_run(db).summary}
    assert {"ab", "<script>", "x" * 500} <= kept


def test_a_line_without_an_end_is_passed_over(db: Database) -> None:
    part, _ = lines(JOB)
    endless = b"x" * MAX_LINE_BYTES
    assert Agent(db).send((part, endless))["parts"][0] == {"offset": MAX_LINE_BYTES}
    after = lines(JOB, *points(3), offset=MAX_LINE_BYTES)
    Agent(db).send((after[0], b"x\n" + after[1]))
    assert only_run(db).summary[0].count == 3


def test_nested_params_become_paths(db: Database) -> None:
    said = {"event": "params", "params": {"lr": 0.01, "opt": {"name": "sgd", "nesterov": True}, "layers": [1, 2]}}
    Agent(db).send(lines(JOB, said, {"event": "tags", "tags": {"stage": "draft"}}))
    run = only_run(db)
    expected = {"lr": "0.01", "opt/name": "sgd", "opt/nesterov": "true", "layers": "[1,2]"}
    assert {param.key: param.value for param in run.params} == expected
    assert {tag.key: tag.value for tag in run.tags} == {"stage": "draft"}


def test_a_run_outside_slurm_ends_as_its_script_says(db: Database) -> None:
    folder = f"local.{'a' * 32}"
    header = {"event": "writer", "version": 1, "argv": ["/x/train.py", "--lr", "1"], "time": 1.7e9, "rank": 0, "pid": 7}
    Agent(db, cluster=None).send(
        lines(folder, header, *points(3), {"event": "finish", "exit_code": 1, "time": 1.7e9 + 4})
    )
    run = only_run(db)
    assert (run.state, run.state_source, run.exit_code, run.name) == ("FAILED", "client", 1, "train.py")


def test_a_silent_death_outside_slurm_is_lost(db: Database) -> None:
    folder = f"local.{'b' * 32}"
    Agent(db, cluster=None).send(lines(folder, *points(3)))
    Agent(db, cluster=None).send(({"type": "gone", "folder": folder, "time": 1.7e9}, b""))
    assert only_run(db).state == "LOST"


def test_a_folder_is_released_only_when_its_run_is_over_for_good(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=1.7e9), hook("epilog", 12, at=1.7e9 + 5))
    assert Agent(db).send(folders=(JOB,))["release"] == []  # accounting has not spoken yet
    with db.write() as session:
        session.get(Run, only_run(db).id).accounting_due = False
    assert Agent(db).send(folders=(JOB, "dev.99", "../../etc"))["release"] == [JOB]


def test_the_end_of_the_output_is_followed_and_kept(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=1.7e9))
    run = only_run(db)
    with db.write() as session:
        logs.expect(session, [logs.Output(run.id, "stdout", "/home/alice/slurm-12.out", "n1", 1001)])
    (wanted,) = Agent(db).send()["follow"]
    assert wanted == {
        "folder": JOB, "stream": "stdout", "path": "/home/alice/slurm-12.out", "uid": 1001, "offset": 0,
        "keep": 1000,
    }  # fmt: skip
    assert Agent(db, "n2").send()["follow"] == []
    text = b"".join(b"line %d\n" % number for number in range(500))
    part = {"type": "log", "folder": JOB, "stream": "stdout", "offset": 0, "eof": True}
    assert Agent(db).send((part, text))["follow"][0]["offset"] == len(text)
    with db.read() as session:
        tail = logs.tail(session, run.id, "stdout", lines=2)
    assert (tail.text, tail.truncated, tail.complete) == ("line 498\nline 499\n", True, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"x\n",
        b'{"version":1}\n',
        b'{"version":1,"agent":{},"parts":[]}\n',
        b"[" * 100000 + b"\n",
        b'{"version":1,"agent":{"node":"n1"},"parts":[{"length":5}]}\nabc',
    ],
)
def test_a_request_that_is_not_understood_is_refused(db: Database, body: bytes) -> None:
    with pytest.raises(BadManifest):
        Door(db, 1000).take(NODE, body, datetime.now(timezone.utc))


def test_a_bad_part_is_answered_and_the_others_stand(db: Database) -> None:
    bad = [({"type": "lines", "folder": "../x", "writer": "w", "offset": 0}, b"")]
    bad += [({"type": "lines", "folder": JOB, "writer": "../w", "offset": 0}, b"")]
    bad += [({"type": "hook", "name": "prolog.x", "time": 1.0}, b"HOOK=prolog\0"), ({"type": "nope"}, b"")]
    answer = Agent(db).send(*bad, lines(JOB, *points(1)))
    assert [one.get("error", {}).get("code") for one in answer["parts"]] == ["bad_input"] * 4 + [None]
    assert only_run(db).summary[0].count == 1


def test_who_may_only_read_cannot_deliver(db: Database) -> None:
    body = encode_request({"version": 1, "agent": {"node": "n1"}, "parts": []}, [])
    for role in ("user", "admin", "node"):
        with pytest.raises(Forbidden):
            Door(db, 1000).take(Identity("bob", role, frozenset({"read"})), body, datetime.now(timezone.utc))


def test_a_user_sees_only_what_is_theirs(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=time.time()))
    run = only_run(db)
    with db.read() as session:
        assert runs.find(session, Identity("bob", "user")).items == []
        assert runs.get(session, Identity("alice", "user"), "dev:12").id == run.id
        with pytest.raises(NotFound):
            runs.get(session, Identity("bob", "user"), run.id)


def test_pages_follow_each_other_without_a_gap(db: Database) -> None:
    for job_id in range(1, 8):
        Agent(db).send(hook("prolog", job_id, at=1.7e9 + job_id))
    with db.read() as session:
        seen, cursor = [], None
        while True:
            page = runs.find(session, ADMIN, limit=3, cursor=cursor)
            seen += [run.job_id for run in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_sums_beyond_all_numbers_harm_nothing(db: Database) -> None:
    Agent(db).send(lines(JOB, *({"metrics": {"x": value}, "step": 0} for value in (1e308, 1e308))))
    offset = 2 * len(b'{"metrics": {"x": 1e+308}, "step": 0}\n')
    part = lines(JOB, *({"metrics": {"x": value}, "step": 0} for value in (-1e308, -1e308)), offset=offset)
    assert "offset" in Agent(db).send(part, hook("prolog", 13, at=1.7e9))["parts"][0]
    with db.read() as session:
        assert runs.get(session, ADMIN, "dev:12").summary[0].count == 4


def test_a_part_that_breaks_does_not_hold_up_the_others(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(series, "put", broken)
    answer = Agent(db).send(hook("prolog", 12, at=1.7e9), lines(JOB, *points(3)))
    assert answer["parts"][0] == {"stored": True}
    assert answer["parts"][1]["error"]["code"] == "internal"
    assert (only_run(db).state, only_run(db).summary) == ("RUNNING", [])


def test_nobody_writes_into_a_run_of_somebody_else(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=1.7e9))
    part, raw = lines(JOB, *points(3))
    assert "error" in Agent(db).send(({**part, "user": "bob"}, raw))["parts"][0]
    assert only_run(db).summary == []


def test_a_key_of_agents_reads_nothing(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=1.7e9))
    with db.read() as session:
        assert runs.find(session, Identity("alice", "node")).items == []


def test_a_run_cannot_have_metrics_without_end(db: Database) -> None:
    line = {"metrics": {f"m{number}": 1.0 for number in range(summaries.MOST_METRICS + 500)}, "step": 0}
    Agent(db).send(lines(JOB, line, *points(3)))
    run = only_run(db)
    assert len(run.summary) == summaries.MOST_METRICS
    with db.read() as session:
        told = params.notes(session, run)
    assert {note.reason for note in told} == {"the run has 2000 metrics already"}


def test_a_request_of_many_files_costs_as_many_statements_as_one_of_few(db: Database) -> None:
    said: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *seen: said.append(seen[2]))

    def statements(jobs: int, offset: int) -> int:
        folders = [f"dev.{job}" for job in range(1, jobs + 1)]
        told = points(3, first=offset)
        said.clear()
        answer = Agent(db).send(
            *(lines(folder, *told, offset=offset and held[folder]) for folder in folders), present=tuple(folders)
        )
        held.update(zip(folders, (part["offset"] for part in answer["parts"]), strict=True))
        return len([one for one in said if not one.startswith(("BEGIN", "NOTIFY"))])

    held: dict[str, int] = {}
    statements(60, 0)
    assert statements(60, 3) == statements(2, 6) <= 9 + (not db.is_postgresql)  # and one to tell of it, now and then


def test_jobs_that_are_requeued_at_once_have_their_writers_stored_once(db: Database) -> None:
    said: list[tuple[str, Any]] = []
    event.listen(db.engine, "before_cursor_execute", lambda *seen: said.append((seen[2], seen[5])))
    header = {"event": "writer", "version": 1, "node": "n1", "pid": 1, "time": 1.7e9}
    again = [
        lines(f"dev.{job}", {**header, "rank": rank, "restart_count": 1}, {"metrics": {"loss": 1.0}}, writer=f"w{rank}")
        for job in range(1, 31)
        for rank in (0, 1)
    ]
    parts = Agent(db).send(*again)["parts"]
    assert all("offset" in part for part in parts)
    # Of each run when its second writer comes, and all that is left then.
    assert len([one for one, _ in said if "INSERT INTO writers" in one]) <= 31


def test_many_metrics_cost_few_statements(db: Database) -> None:
    counted: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *seen: counted.append(seen[2]))
    said = {"event": "params", "params": {f"p{number}": number for number in range(400)}}
    Agent(db).send(lines(JOB, {"metrics": {f"m{number}": 1.0 for number in range(400)}, "step": 0}, said))
    assert len(counted) <= 30


def test_what_is_above_the_limit_of_a_spool_is_told_on_the_page(db: Database) -> None:
    agent = Agent(db)
    part = {"type": "left_out", "folder": "dev.12", "left_bytes": 5 * 1024**2, "limit_bytes": 2 * 1024**3}
    agent.send(hook("prolog", 12, at=1.7e9), (part, b""), ({**part, "left_bytes": 9 * 1024**2}, b""))
    (refused,) = agent.send(({**part, "left_bytes": "many"}, b""))["parts"]
    assert refused["error"]["code"] == "bad_input"
    with db.read() as session:
        run = runs.get(session, ADMIN, "dev:12")
        told = {note.key: note.reason for note in params.notes(session, run)}
    assert told == {"spool": "9 MiB that the job wrote are above the limit of 2,048 MiB and left out"}
