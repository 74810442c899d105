"""A real cluster with the tracker beside it, for all of these tests, and what its people do."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cluster import Cluster
from tests.conftest import mark_ours, wait_until

FINAL = {"COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "PREEMPTED", "NODE_FAIL"}


class Site:
    """The cluster and its tracker, as alice and the administrator see them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.env = cluster.env()

    def sbatch(self, script: str, *words: str, user: str = "alice", env: dict[str, str] | None = None) -> int:
        """Submit a batch script from the user's home; the job's id."""
        return self.cluster.sbatch(user, *words, script=f"#!/bin/bash\n{script}\n", env=env)

    def as_root(self, *words: str) -> str:
        answer = self.cluster.run_as("root", list(words))
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def api(self, path: str) -> Any:
        request = urllib.request.Request(
            f"{self.env['TRACKER_URL']}/api/v1{path}", headers={"Authorization": f"Bearer {self.env['TRACKER_TOKEN']}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def run(self, name: int | str) -> dict[str, Any] | None:
        """The run of a job id or an array task such as `12_3`; None if there is none yet."""
        try:
            return self.api(f"/runs/{self.cluster.at.name}:{name}")
        except urllib.error.HTTPError as refused:
            refused.close()
            return None
        except OSError:
            return None

    def await_state(self, name: int | str, *states: str, within_s: float = 90) -> dict[str, Any]:
        """The run, as soon as it is in one of the states."""

        def reached() -> dict[str, Any] | None:
            run = self.run(name)
            return run if run and run["state"] in states else None

        return wait_until(reached, within_s, what=f"run {name} is {' or '.join(states)}: {self.run(name)}")  # type: ignore[return-value]

    def await_truth(self, name: int | str, within_s: float = 90) -> dict[str, Any]:
        """The run, as soon as accounting has said how it ended."""

        def told() -> dict[str, Any] | None:
            run = self.run(name)
            return run if run and run["state_source"] == "accounting" and run["state"] in FINAL else None

        return wait_until(told, within_s, what=f"the end of run {name}: {self.run(name)}")  # type: ignore[return-value]

    def accounting(self, job: int | str) -> list[list[str]]:
        """What Slurm's accounting keeps of a job's allocations: state, start and end, the first one first."""
        words = ["env", "SLURM_TIME_FORMAT=%s", "sacct", "-XDnP", "-j", str(job), "-o", "State,Start,End"]
        return sorted([row.split("|") for row in self.as_root(*words).splitlines()], key=lambda row: row[1])

    def series(self, run: dict[str, Any], metric: str, **more: Any) -> dict[str, Any]:
        query = urllib.parse.urlencode({"metric": metric, "max_points": 100_000, **more})
        return self.api(f"/runs/{run['id']}/series?{query}")

    def log(self, run: dict[str, Any], stream: str = "stdout") -> str:
        return str(self.output(run["id"], stream).get("text", ""))

    def output(self, ident: str, stream: str = "stdout") -> dict[str, Any]:
        """What is known of an output; nothing as long as the queue has not told where it is."""
        try:
            return self.api(f"/runs/{ident}/log?stream={stream}&tail=200")  # type: ignore[no-any-return]
        except urllib.error.HTTPError as refused:
            refused.close()
            return {}


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    cluster = Cluster("test", nodes=2, gpus=2)
    cluster.remove()
    mark_ours(cluster)
    cluster.up()
    yield Site(cluster)
    cluster.remove()
