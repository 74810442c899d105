"""What ran: the batch script and the code of a job, as alice left them in her home."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.e2e.conftest import Site

REPOSITORY = """
set -e
rm -rf digits && mkdir digits && cd digits
git init -q -b main .
printf 'import tracker\\ntracker.log({"loss": 1.0})\\n' > train.py
git add train.py
git -c user.name=alice -c user.email=alice@example.org commit -q -m first
git rev-parse HEAD
printf 'import tracker\\nlr = 0.5\\ntracker.log({"loss": lr})\\n' > train.py
touch notes.txt
"""
SCRIPT = """#SBATCH -J digits
export WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567
cd digits
{launcher}python train.py --lr 0.5 --token=hf_abcdefghijklmnopqrstuvwxyz
"""


def captured(site: Site, job: int) -> dict[str, Any]:
    def told() -> list[dict[str, Any]]:
        run = site.run(job)
        return site.api(f"/runs/{run['id']}/capture")["items"] if run else []

    (one,) = wait_until(told, what=f"the capture of job {job}")  # type: ignore[misc]
    return one


@pytest.mark.parametrize("launcher", ["", "srun "], ids=["batch", "srun"])
def test_the_api_shows_script_commit_and_diff_of_a_job_from_a_dirty_checkout(
    site: Site, launcher: str, tmp_path: Path
) -> None:
    made = site.cluster.run_as("alice", ["sh", "-c", REPOSITORY], env={"HOME": "/home/alice"}, cwd="/home/alice")
    assert made.returncode == 0, made.stderr
    commit = made.stdout.strip()
    job = site.sbatch(SCRIPT.format(launcher=launcher))
    told = captured(site, job)
    script = f"#!/bin/bash\n{SCRIPT.format(launcher=launcher)}\n"
    script = script.replace("0123456789abcdef0123456789abcdef01234567", "[redacted]")
    assert told["script"]["text"].rstrip() == script.replace("hf_abcdefghijklmnopqrstuvwxyz", "[redacted]").rstrip()
    assert told["argv"][1:] == ["train.py", "--lr", "0.5", "--token=[redacted]"]
    assert (told["cwd"], told["env"]["SLURM_JOB_ID"]) == ("/home/alice/digits", str(job))
    git = told["git"]
    assert (git["commit"], git["branch"], git["dirty"]) == (commit, "main", True)
    assert (git["changed"], git["untracked"]) == (["M train.py"], ["notes.txt"])
    (tmp_path / "train.py").write_text('import tracker\ntracker.log({"loss": 1.0})\n')
    subprocess.run(["git", "apply", "-"], input=git["diff"].encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "train.py").read_text() == 'import tracker\nlr = 0.5\ntracker.log({"loss": lr})\n'
    assert site.await_truth(job)["state"] == "COMPLETED"
