"""How soon a job is seen: from its start to RUNNING, from log() to the curve, from its end to COMPLETED."""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench._figures import Row, Table, measured, play, progress
from lab.cluster import Cluster
from lab.place import LabError

JOBS = 10
POINTS = 1000
TURNS = 5
POLL_S = 0.05
BARS_S = {"its start → RUNNING": 2.0, "last log() → all points": 3.0, "its end → COMPLETED": 2.0}
CLUSTER_BAR_S = 30.0

SCRIPT = f"""#!/bin/bash
date +%s.%N
sleep 2
python -c "import time, tracker
[tracker.log({{'loss': 1/(i+1)}}, step=i) for i in range({POINTS})]
print(time.time())"
sleep 3
date +%s.%N
"""


def measure() -> list[Table]:
    """Both tables; the cluster is gone afterwards."""
    cluster = Cluster("bench", nodes=2, gpus=2, say=lambda line: None)
    cluster.remove()
    try:
        turns = _up_and_down(cluster)
        return [_walk(cluster), turns]
    finally:
        cluster.remove()


def _up_and_down(cluster: Cluster) -> Table:
    """Bring the cluster up, the first time from nothing, and down; it is up at the end."""
    found: dict[str, list[float]] = {"first up": [], "up again": [], "down": []}
    for turn in range(TURNS):
        progress(f"  up and down, {turn + 1} of {TURNS}")
        found["up again" if turn else "first up"].append(_seconds(cluster.up))
        found["down"].append(_seconds(cluster.down))
    cluster.up()
    rows = [
        measured(name, values, "s", **{"bar s": None if name == "down" else CLUSTER_BAR_S})
        for name, values in found.items()
    ]
    return Table("`./run cluster`, 2 nodes, installed before", rows)


def _seconds(work: Callable[[], None]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _walk(cluster: Cluster) -> Table:
    found: dict[str, list[float]] = {name: [] for name in BARS_S}
    with tempfile.TemporaryDirectory(prefix="tracker-walk-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        for number in range(JOBS):
            seen = _follow(cluster, folder / f"{number}.out")
            told = ", ".join(f"{what} {took_s:.2f} s" for what, took_s in seen.items())
            progress(f"  job {number + 1} of {JOBS}: {told}")
            for what, took_s in seen.items():
                found[what].append(took_s)
            time.sleep(random.uniform(0, 1))  # else each job would meet the watcher at the same point of its second
    rows: list[Row] = [measured(what, values, "s", **{"bar s": BARS_S[what]}) for what, values in found.items()]
    return Table(f"{JOBS} jobs, one after another, {POINTS} points each", rows)


def _follow(cluster: Cluster, output: Path) -> dict[str, float]:
    """Watch one job through the API, as a page does. Gives seconds; the job's own clock tells what happened when."""
    job = cluster.sbatch("alice", "--gres=gpu:1", "-o", output, script=SCRIPT)
    answers = _Answers(cluster, job)
    running_s = answers.until(lambda run: run["state"] == "RUNNING")
    complete_s = answers.until(lambda run: run["summary"].get("loss", {}).get("count") == POINTS)
    completed_s = answers.until(lambda run: run["state"] == "COMPLETED")
    started_s, logged_s, ended_s = map(float, output.read_text().split())
    if complete_s > ended_s:
        progress(f"  job {job}: its points came only after its end")
    return dict(zip(BARS_S, (running_s - started_s, complete_s - logged_s, completed_s - ended_s), strict=True))


class _Answers:
    """What the API says of a job's run, asked again and again."""

    def __init__(self, cluster: Cluster, job: int) -> None:
        env = cluster.env()
        address = f"{env['TRACKER_URL']}/api/v1/runs/{cluster.at.name}:{job}"
        self._request = urllib.request.Request(address, headers={"Authorization": f"Bearer {env['TRACKER_TOKEN']}"})
        self._what = f"run {cluster.at.name}:{job}"

    def until(self, reached: Callable[[dict[str, Any]], bool], within_s: float = 60) -> float:
        """The time at which an answer was first as wanted."""
        deadline_s = time.time() + within_s
        while True:
            run = self._ask()
            now_s = time.time()
            if run and reached(run):
                return now_s
            if now_s > deadline_s:
                raise LabError(f"waited {within_s:g} s in vain; {self._what} is {run}")
            time.sleep(POLL_S)

    def _ask(self) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(self._request, timeout=10) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as refused:
            refused.close()
            if refused.code != 404:
                raise LabError(f"the API answered {refused.code} for {self._what}") from refused
            return None  # not known yet


if __name__ == "__main__":
    sys.exit(play("walk", __doc__ or "", measure))
