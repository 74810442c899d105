"""What happens meanwhile: things are deleted while others write to them, and the database goes away in the middle."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import text

from tests.agent_side import Agent, lines, points
from tests.conftest import wait_until
from tracker.store import runs
from tracker.store.database import Database

from .conftest import Answer, Server
from .test_changes import new_run, send

ID = "5d" * 16
UUID = "-".join(["5d5d5d5d", "5d5d", "5d5d", "5d5d", "5d5d5d5d5d5d"])


def together(*doing: Callable[[], object]) -> None:
    """All of it at once; what one of them raises fails the test."""
    problems: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(one,)) for one in doing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_what_is_written_while_its_run_is_deleted_is_refused_or_stored_as_a_whole(server: Server) -> None:
    run, token = new_run(server), server.token()
    path, answers = f"/runs/{run['id']}", list[tuple[str, Answer]]()

    def ask(method: str, path: str, body: object = None) -> None:
        answers.append((f"{method} {path}", send(server, method, path, body, token)))

    def log() -> None:
        for number in range(8):
            batch = [{"metric": "loss", "value": 1.0}, {"metric": "lr", "value": 0.1}]
            ask("POST", f"{path}/metrics", {"points": batch, "writer": "w", "offset": 2 * number})

    def change() -> None:
        for number in range(8):
            ask("PATCH", path, {"tags": {"number": str(number)}, "params": {"gone": None}})

    def delete() -> None:
        ask("PATCH", path, {"state": "COMPLETED"})
        ask("DELETE", path)
        ask("POST", "/runs:delete", {"ids": [run["id"]]})

    def look() -> None:
        for _ in range(8):
            ask("GET", f"{path}/series?metric=loss")
            ask("GET", "/runs?limit=5")

    together(log, change, delete, look)
    told = {(name, answer.status) for name, answer in answers}
    assert {status for _, status in told} <= {200, 204, 404, 409}, told
    assert (f"DELETE {path}", 204) in told
    with server.database.read() as session:
        left = session.execute(text("SELECT metric, count FROM summaries ORDER BY metric")).all()
    stored = sum(answer.json["stored"] for name, answer in answers if "/metrics" in name and answer.status == 200)
    assert sum(count for _, count in left) == stored
    assert len({count for _, count in left}) <= 1  # both metrics of each request, or none


def test_an_agent_delivers_whatever_people_delete(server: Server) -> None:
    agent, root = Agent(server.database, cluster=None), server.token("root", "admin")
    part = lines(f"local.{ID}", *points(3))
    agent.send(part)
    send(server, "PATCH", f"/runs/{UUID}", {"state": "COMPLETED"}, root)
    more = lines(f"local.{ID}", *points(30, first=3), offset=len(part[1]))
    answers = []
    together(
        lambda: answers.append(agent.send(more)["parts"][0]),
        lambda: send(server, "DELETE", f"/runs/{UUID}", token=root),
    )
    assert answers == [{"offset": len(part[1]) + len(more[1])}]
    assert send(server, "GET", f"/runs/{UUID}", token=root).status == 404


def test_a_database_that_goes_away_in_the_middle_is_told_and_nothing_is_stored(server: Server) -> None:
    if not server.database.is_postgresql:
        return  # it cannot go away by itself
    run, token = new_run(server), server.token()
    change = {"name": "in vain", "tags": {"a": "b"}}
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(send(server, "PATCH", f"/runs/{run['id']}", change, token)))
    other = Database(server.database.url)
    with other.write() as holding:
        runs.lock(holding, run["id"])
        asking.start()
        wait_until(lambda: _end_those_who_wait(other))
        asking.join()
    other.close()
    (refused,) = answers
    assert (refused.status, refused.json["code"]) == (503, "database_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    told = send(server, "GET", f"/runs/{run['id']}", token=token).json
    assert (told["name"], told["tags"]) == (None, {})
    assert send(server, "PATCH", f"/runs/{run['id']}", change, token).json["name"] == "in vain"


def _end_those_who_wait(db: Database) -> bool:
    waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    waiting += " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with db.read() as session:
        return bool(session.execute(text(waiting)).all())
