"""From `tracker.log` in a process to the database, with everything between them failing: every point exactly once."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select

from tests.agent.bad_road import FAULTS, BadRoad, bad_road
from tests.agent.conftest import Node
from tests.agent.real_server import RealServer
from tests.conftest import ROOT, wait_until
from tests.postgres import Postgres
from tracker.store import batches, segments
from tracker.store.database import Database, Session
from tracker.store.points import Points
from tracker.store.tables import Attempt, Experiment, Run, Summary, Writer

# It writes down each step beside the spool after `log` has returned from it.
WRITER = """
import math, os, sys, time
import tracker
returned = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
tracker.init(experiment="storm", params={"pause": 0.004})
step = 0
while not os.path.exists(sys.argv[2]):
    tracker.log({"loss": math.sin(step) * 1e-3, "odd": float("nan") if step % 7 == 0 else step}, step=step)
    os.write(returned, b"%d\\n" % step)
    step += 1
    time.sleep(0.004)
"""


class Story(NamedTuple):
    """A writer: its folder in the spool, its rank, and the file in which it says what `log` has returned from."""

    folder: str
    rank: int
    returned: Path
    process: subprocess.Popen[bytes]


class Storm:
    """Writers, agents, a server and its database, and what befalls them."""

    def __init__(self, node: Node, server: RealServer, road: BadRoad, chance: random.Random) -> None:
        self.node, self.server, self.road, self.chance = node, server, road, chance
        self.over = node.folder / "over"
        self.token = server.agent_token()
        self.writers: list[Story] = []

    def write(self, folder: str, rank: int = 0) -> None:
        """Start a process that logs into a folder of the spool until the storm is over."""
        returned = self.node.folder / f"{folder}.{rank}.returned"
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SLURM_PROCID": str(rank)}
        env["TRACKER_SPOOL"] = str(self.node.job(folder, uid=os.getuid()))
        if not folder.startswith("local."):
            cluster, job_id = folder.split(".")
            env.update(SLURM_CLUSTER_NAME=cluster, SLURM_JOB_ID=job_id, SLURMD_NODENAME="n1")
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(returned), str(self.over)], env=env)
        self.writers.append(Story(folder, rank, returned, process))

    def command(self, *more: str) -> list[str]:
        options = ["--spool", str(self.node.spool), "--url", self.road.url, "--node", "n1", "--cluster", "dev"]
        return [sys.executable, "-m", "tracker.agent", *options, *more]

    def blow(self, seconds: float, outages: list[Callable[[], None]]) -> None:
        """Let it befall them for so long: agents are killed about once a second, the server in mid-request."""
        ends_s = time.monotonic() + seconds
        others = [threading.Thread(target=self._kill_servers, args=(ends_s,))]
        others += [threading.Thread(target=lambda: [outage() for outage in outages])]
        for thread in others:
            thread.start()
        while time.monotonic() < ends_s or any(thread.is_alive() for thread in others) or self._is_calm():
            count = 2 if self.chance.random() < 0.3 else 1  # an administrator may start a second one by mistake
            agents = [subprocess.Popen(self.command("--interval", "0.02"), **self.quiet()) for _ in range(count)]
            time.sleep(self.chance.uniform(0.5, 1.5))
            for agent in agents:
                assert agent.poll() is None, "an agent ended by itself"
                agent.kill()
                agent.wait()

    def _is_calm(self) -> bool:
        return len(self.road.befallen) < len(FAULTS)

    def _kill_servers(self, ends_s: float) -> None:
        while time.monotonic() < ends_s:
            time.sleep(self.chance.uniform(2, 4))
            patience_s = time.monotonic() + 1
            while not self.road.under_way and time.monotonic() < patience_s:
                time.sleep(0.001)
            self.server.kill()
            self.server.start()

    def end(self) -> None:
        """All is well again: the writers end, the server answers, and an agent ships what is left."""
        self.over.touch()
        self.road.is_open = True
        for writer in self.writers:
            assert writer.process.wait(30) in (0, -signal.SIGKILL)
        self.server.kill()  # its last start may have met a database that was away; systemd would start it again, too
        self.server.start()
        self.server.await_ready()
        for _ in range(5):
            done = subprocess.run(self.command("--once"), check=False, timeout=60, **self.quiet())
            if done.returncode == 0:
                return
        pytest.fail("an agent cannot ship what is left")

    def quiet(self) -> dict[str, Any]:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TRACKER_TOKEN": self.token, "HOME": "/nowhere"}
        return {"env": env, "stderr": subprocess.DEVNULL}


def check_every_point_is_there_once(storm: Storm, db: Database) -> int:
    """What `log` returned from is in the spool; what is in the spool is in the database, each point once and equal."""
    total = 0
    with db.read() as session:
        assert session.scalars(select(Experiment.name).order_by(Experiment.name)).all() == ["default", "storm"]
        runs = {run.job_id or run.id: run for run in session.scalars(select(Run))}
        assert len(runs) == len({one.folder for one in storm.writers})
        for one in storm.writers:
            writer, spooled = written_points(storm.node.spool / "jobs" / one.folder, one.rank)
            said = [int(step) for step in one.returned.read_text().split()]
            steps = [step for step, _, _ in spooled["loss"]]
            assert steps[: len(said)] == said
            assert len(steps) - len(said) <= (one.process.returncode != 0), "only a killed one may have had no time"
            run = (
                runs[int(one.folder[4:])]
                if one.folder.startswith("dev.")
                else next(run for run in runs.values() if run.id.replace("-", "") == one.folder[6:])
            )
            for metric, points in spooled.items():
                stored = stored_points(session, run.id, writer, metric)
                assert stored.steps.tolist() == [step for step, _, _ in points]
                assert stored.times_us.tolist() == [round(time_s * 1e6) for _, time_s, _ in points]
                assert list(map(str, stored.values.tolist())) == [str(value) for _, _, value in points]
                total += len(points)
        for run in runs.values():
            check_summary(storm, session, run)
        assert session.scalars(select(Writer.rejected_lines)).all() == [0] * len(storm.writers)
        assert [one.number for one in session.scalars(select(Attempt))] == [1, 1], "two jobs, each with one prolog"
    return total


def written_points(folder: Path, rank: int) -> tuple[str, dict[str, list[tuple[int, float, float]]]]:
    """The writer of a rank, and step, time and value of all points that it wrote, by metric."""
    for file in folder.glob("*.jsonl"):
        header, *messages = map(json.loads, file.read_text().splitlines())
        if header["rank"] == rank:
            found: dict[str, list[tuple[int, float, float]]] = {}
            for message in messages:
                for metric, value in message.get("metrics", {}).items():
                    found.setdefault(metric, []).append((message["step"], message["time"], float(value)))
            return file.stem, found
    raise LookupError(f"no file of rank {rank} in {folder}")


def stored_points(session: Session, run_id: str, writer: str, metric: str) -> Points:
    """What the database has of a writer's metric, in the order written."""
    mine = [one for one in segments.index(session, [run_id], [metric]) if one.writer == writer]
    segments.read(session, {segments.EXACT: mine})
    pieces = [one.points for one in mine if one.points is not None]
    return Points.joined(pieces + [one.points for one in batches.pending(session, run_id, metric, writer)])


def check_summary(storm: Storm, session: Session, run: Run) -> None:
    name = f"dev.{run.job_id}" if run.job_id else f"local.{run.id.replace('-', '')}"
    ranks = [one.rank for one in storm.writers if one.folder == name]
    pieces = [written_points(storm.node.spool / "jobs" / name, rank)[1] for rank in ranks]
    for summary in session.scalars(select(Summary).where(Summary.run_id == run.id)):
        values = [value for piece in pieces for _, _, value in piece[summary.metric]]
        finite = [value for value in values if math.isfinite(value)]
        assert summary.count == len(values)
        assert (summary.min, summary.max, summary.finite_count) == (min(finite), max(finite), len(finite))
        assert math.isclose(summary.total, math.fsum(finite), rel_tol=1e-9, abs_tol=1e-9)
        assert summary.last_step in {piece[summary.metric][-1][0] for piece in pieces}


@contextmanager
def stormy(node: Node, database_url: str, seed: int) -> Iterator[Storm]:
    home = node.folder / "home"
    home.mkdir()
    server = RealServer(home, database_url)
    server.start()
    server.await_ready()
    storm = None
    try:
        with bad_road(server.port, seed) as road:
            storm = Storm(node, server, road, random.Random(seed))
            yield storm
    finally:
        server.kill()
        for one in storm.writers if storm else ():
            one.process.kill()
            one.process.wait()


def blow_over(storm: Storm, seconds: float, outages: list[Callable[[], None]]) -> int:
    """The whole story on one database; the points that arrived."""
    storm.node.event("prolog.101.1", time_s=time.time(), SLURM_JOB_ID=101, SLURM_CLUSTER_NAME="dev")
    storm.write("dev.101", rank=0)
    storm.write("dev.101", rank=1)
    storm.write("dev.102")
    storm.write("local." + "5d" * 16)
    storm.node.event("prolog.102.1", time_s=time.time(), SLURM_JOB_ID=102, SLURM_CLUSTER_NAME="dev")
    storm.blow(seconds, [*outages, storm.writers[2].process.kill])
    storm.end()
    return check_every_point_is_there_once(storm, Database(storm.server.database_url))


def test_through_a_storm_with_postgresql(node: Node, request: pytest.FixtureRequest) -> None:
    postgres = Postgres()
    postgres.start()
    outage_s = request.config.getoption("--outage")

    def is_frozen() -> None:
        time.sleep(1)
        postgres.freeze(True)
        time.sleep(outage_s)
        postgres.freeze(False)

    def is_stopped() -> None:
        time.sleep(2)
        postgres.stop(signal.SIGQUIT)
        time.sleep(outage_s)
        postgres.start()

    try:
        with stormy(node, postgres.new_database(), seed=1) as storm:
            assert blow_over(storm, 8, [is_frozen, is_stopped]) > 1000
    finally:
        postgres.remove()


def test_through_a_storm_with_sqlite(node: Node, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    outage_s = request.config.getoption("--outage")

    def is_held() -> None:
        time.sleep(1)
        holder = sqlite3.connect(tmp_path / "tracker.db", isolation_level=None)
        holder.execute("PRAGMA busy_timeout=20000")
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(outage_s)
        holder.execute("ROLLBACK")
        holder.close()

    with stormy(node, f"sqlite:///{tmp_path / 'tracker.db'}", seed=2) as storm:
        assert blow_over(storm, 7, [is_held]) > 1000


def test_a_database_that_is_put_back_to_its_backup_gets_the_rest_again(node: Node, tmp_path: Path) -> None:
    kept, backup = tmp_path / "tracker.db", tmp_path / "backup.db"
    with stormy(node, f"sqlite:///{kept}", seed=3) as storm:
        storm.road.is_open = True
        db = Database(storm.server.database_url)
        node.write(range(50), "dev.7", uid=0)
        agent = subprocess.Popen(storm.command("--interval", "0.05"), **storm.quiet())
        try:
            wait_until(lambda: stored_steps(db) == list(range(50)))
            with closing(sqlite3.connect(kept)) as source, closing(sqlite3.connect(backup)) as copy:
                source.backup(copy)
            node.write(range(50, 90), "dev.7", uid=0)
            wait_until(lambda: stored_steps(db) == list(range(90)))
            db.close()
            storm.server.kill()
            for path in tmp_path.glob("tracker.db*"):
                path.unlink()
            backup.rename(kept)
            assert stored_steps(db) == list(range(50))
            before = storm.road.lost
            wait_until(lambda: storm.road.lost > before, what="the agent notices")
            storm.server.start()
            wait_until(lambda: stored_steps(db) == list(range(90)), 60)
        finally:
            agent.kill()
            agent.wait()
            db.close()


def stored_steps(db: Database) -> list[int]:
    """Steps of the only run's `loss`."""
    with db.read() as session:
        run_id = session.scalar(select(Run.id))
        return stored_points(session, run_id, "w1", "loss").steps.tolist() if run_id else []
