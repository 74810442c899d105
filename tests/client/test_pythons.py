"""Jobs bring their own Python: the client works in every one that this machine has, from 3.8 on, without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.conftest import Scripts

OLDEST = (3, 8)
STORY = """
import math, os, threading
run = tracker.init(experiment="pythons", params={"lr": 0.1, "net": {"depth": 3}})
for step in range(100):
    tracker.log({"loss": 1 / (step + 1), "whole": 2**62, "odd": math.nan, "deep": {"er": True}}, step=step)
thread = threading.Thread(target=lambda: tracker.log({"from a thread": 1}, step=1))
thread.start(), thread.join()
tracker.set_tags({"stage": "draft"})
tracker.log({"text": "no number"})
tracker.log_histogram("weights", [0.1, 0.2, math.inf], step=1)
tracker.finish()
"""
FORKS = """
import os, threading, time
tracker.log({"loss": 1}, step=1)
while threading.active_count() > 1:  # what is captured at the start
    time.sleep(0.01)
child = os.fork()
if child == 0:
    tracker.log({"loss": 2}, step=2)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def _pythons() -> list[str]:
    """One interpreter of each version: our own, and those that are installed beside it."""
    beside = sorted(Path.home().glob(".pyenv/versions/*/bin"))
    places = [*map(Path, os.environ.get("PATH", "").split(os.pathsep)), *beside]
    found = {sys.version_info[:2]: sys.executable}
    for place in places:
        for path in place.glob("python3.*"):
            named = re.fullmatch(r"python3\.(\d+)", path.name)
            if named and (3, int(named[1])) >= OLDEST and "shims" not in path.parts:
                found.setdefault((3, int(named[1])), str(path))
    return [found[version] for version in sorted(found)]


@pytest.mark.parametrize("python", _pythons())
def test_a_script_logs_in_this_python(scripts: Scripts, python: str) -> None:
    scripts.python = python
    scripts.run(STORY)
    losses = [metrics["loss"] for step, metrics in scripts.points() if "loss" in metrics]
    assert losses == [1 / (step + 1) for step in range(100)]
    assert scripts.points()[0][1] == {"loss": 1.0, "whole": 2**62, "odd": "NaN", "deep/er": True}
    assert scripts.event("params")["params"]["net"] == {"depth": 3}
    assert scripts.event("note")["key"] == "text"
    assert scripts.event("media")["kind"] == "histogram"
    assert scripts.event("finish")["exit_code"] == 0
    version = subprocess.check_output([python, "-c", "import sys; print(sys.version.split()[0])"], text=True).strip()
    assert scripts.event("writer")["python"] == version
    assert "notes" not in scripts.event("capture") or "error" not in str(scripts.event("capture")["notes"]).lower()


@pytest.mark.parametrize("python", _pythons())
def test_a_script_forks_in_this_python_without_a_warning_of_threads(scripts: Scripts, python: str) -> None:
    scripts.python = python
    assert scripts.run(FORKS).stderr == ""
    assert sorted(step for step, _ in scripts.points()) == [1, 2]
