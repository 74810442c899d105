"""The samples without Slurm: local processes, each a run of its own."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from lab.place import CHECKOUT
from lab.setup import VENV
from lab.verdict import Api

RATES = ("0.0001", "0.001", "0.01", "0.1")
EPOCHS = 40
FAILS = 'import sys, tracker\ntracker.init(experiment="fails")\ntracker.log({"loss": 1.0}, step=0)\nsys.exit(3)\n'
SETTLE_S = 30


def run(home: Path, api: Api) -> bool:
    """Run the samples and print what became of them; gives whether everything is as it has to be."""
    env = {**os.environ, "TRACKER_HOME": str(home), "PATH": f"{VENV}/bin:{os.environ['PATH']}"}
    python = str(VENV / "bin" / "python")
    digits = [[python, str(CHECKOUT / "examples" / "digits.py"), "--lr", rate] for rate in RATES]
    started = [
        subprocess.Popen(words, env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for words in [*digits, [python, "-c", FAILS]]
    ]
    print(f"  {len(started)} local processes")
    for process in started:
        process.wait()
    expected = sorted([("digits", "COMPLETED", EPOCHS)] * len(RATES) + [("fails", "FAILED", 1)])
    deadline = time.monotonic() + SETTLE_S
    while (found := _found(api)) != expected and time.monotonic() < deadline:
        time.sleep(0.5)
    for experiment, state, points in found:
        print(f"  {experiment:<8} {state:<10} {points} points")
    print(f"{len(found)} runs, {'all as they ended' if found == expected else 'NOT all as they ended'}")
    return found == expected


def _found(api: Api) -> list[tuple[str, str, int]]:
    runs: list[dict[str, Any]] = (api.get("/runs") or {}).get("items", [])
    return sorted(
        (str(one["experiment"]), str(one["state"]), max((s["count"] for s in one["summary"].values()), default=0))
        for one in runs
    )
