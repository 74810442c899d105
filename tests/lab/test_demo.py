"""The demo, as a newcomer starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from lab import leftovers
from lab.cluster import Cluster
from lab.place import CHECKOUT, place
from tests.conftest import mark_ours, wait_until
from tests.lab.conftest import Run, as_alice


def everything_is_gone() -> bool:
    at = place("demo")
    nodes = ["demo-n1", "demo-n2"]
    return not at.root.exists() and not leftovers.processes(at, nodes) and not leftovers.mounts(at)


@pytest.mark.timeout(1200)
def test_the_demo_ends_well_and_tears_everything_down(run: Run) -> None:
    answer = run("demo", "--once", timeout_s=900)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    table = [line for line in answer.stdout.splitlines() if line.endswith("  ok")]
    assert len(table) == 9
    for state in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"):
        assert any(line.count(state) == 3 for line in table)  # expected, in accounting, in tracker
    assert "9 runs, all as Slurm has them, all points there" in answer.stdout
    assert everything_is_gone()


@pytest.mark.timeout(1200)
def test_the_demo_on_the_slurm_that_is_here_needs_no_root(repaired_checkout: Path) -> None:
    cluster = Cluster("barelab", nodes=1, gpus=0, bare=True)
    cluster.remove()
    mark_ours(cluster)
    cluster.up()
    env = {"SLURM_CONF": str(cluster.at.slurm_conf)}
    answer = as_alice(repaired_checkout, "./run", "demo", "--here", "--once", env=env, timeout_s=500)
    cluster.remove()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "this cluster has 1 node" in answer.stdout
    assert "all as Slurm has them, all points there" in answer.stdout
    assert not list(Path("/home/alice").glob(".tracker-demo-*"))


def test_the_demo_does_not_disturb_a_slurm_that_has_trackers_hooks(checkout_of_alice: Path, cluster: Cluster) -> None:
    env = {"SLURM_CONF": str(cluster.at.slurm_conf)}
    answer = as_alice(checkout_of_alice, "./run", "demo", "--here", env=env)
    assert answer.returncode == 1
    assert "this Slurm has tracker's hooks" in answer.stderr


def test_the_demo_without_slurm_runs_local_processes(repaired_checkout: Path) -> None:
    answer = as_alice(repaired_checkout, "./run", "demo", "--local", "--once", timeout_s=200)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "5 runs, all as they ended" in answer.stdout


def test_ctrl_c_in_the_middle_tears_everything_down() -> None:
    demo = subprocess.Popen([CHECKOUT / "run", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert demo.stdout
    link = None
    for line in demo.stdout:
        link = link or re.search(r"http://\S+", line)
        if "RUNNING" in line:
            break
    assert link
    with urllib.request.urlopen(link[0]) as page:
        assert page.status == 200
    os.kill(demo.pid, signal.SIGINT)
    _, said = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Traceback" not in said
    wait_until(everything_is_gone, what="the demo's cluster is gone")


def test_a_second_demo_leaves_the_first_one_alone(run: Run) -> None:
    first = subprocess.Popen([CHECKOUT / "run", "demo"], stdout=subprocess.PIPE, text=True)
    assert first.stdout
    for line in first.stdout:
        if "munge" in line:
            break
    second = run("demo")
    assert second.returncode == 1
    assert "a demo runs already" in second.stderr
    os.kill(first.pid, signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 130
    assert everything_is_gone()
