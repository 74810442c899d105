"""Whatever a machine does to a job, what log() returned from is there once, and training ends as it would have."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.conftest import JOB, Scripts
from tests.conftest import wait_until

TELL = """
    import itertools, os
    told = os.open(os.environ["TOLD"], os.O_WRONLY | os.O_CREAT, 0o600)
    for step in itertools.count(1):
        tracker.log({"loss": 1 / step}, step=step)
        os.pwrite(told, b"%d " % step, 0)
"""
QUIET = {**JOB, "TRACKER_CAPTURE": "off"}


def steps_of(scripts: Scripts, job_id: int) -> list[int]:
    """The steps that lie in the folder of a job; a line that is no JSON fails the test, but for a torn last one."""
    return [one["step"] for one in scripts.messages(scripts.home / f"t/spool/jobs/dev.{job_id}") if "metrics" in one]


def test_a_hundred_jobs_killed_at_random_moments_lose_and_double_nothing(scripts: Scripts) -> None:
    chance = random.Random(3)
    for first in range(1, 101, 4):
        side_by_side = []
        for job_id in range(first, first + 4):
            told = scripts.home / f"told.{job_id}"
            script = scripts.start(TELL, **{**QUIET, "SLURM_JOB_ID": str(job_id)}, TOLD=str(told))
            side_by_side.append((job_id, told, script))
        for job_id, told, script in side_by_side:
            wait_until(lambda told=told: told.exists() and told.stat().st_size, pause_s=0.005, within_s=60)
            time.sleep(chance.uniform(0, 0.02))
            script.send_signal(signal.SIGKILL)
            script.communicate()
            returned_from, steps = int(told.read_text().split()[0]), steps_of(scripts, job_id)
            assert steps == list(range(1, len(steps) + 1))
            assert returned_from <= len(steps) <= returned_from + 1


def test_slurms_sigterm_and_sigkill_cost_nothing(scripts: Scripts) -> None:
    told = scripts.home / "told"
    script = scripts.start(
        "\n    tracker.on_signal(lambda signum: tracker.log({'saved': 1}))" + TELL, **QUIET, TOLD=str(told)
    )
    wait_until(lambda: told.exists() and told.stat().st_size, pause_s=0.005, within_s=60)
    script.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    script.send_signal(signal.SIGKILL)
    script.communicate()
    logged = [one for one in scripts.messages() if "metrics" in one]
    assert [one["metrics"] for one in logged if "saved" in one["metrics"]] == [{"saved": 1}]
    steps = [one["step"] for one in logged if "loss" in one["metrics"]]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= int(told.read_text().split()[0])


def test_a_job_out_of_memory_keeps_its_points_and_its_exit_code(scripts: Scripts) -> None:
    code = """
        import resource
        hoard = []
        resource.setrlimit(resource.RLIMIT_AS, (200 * 2**20, 200 * 2**20))
        for step in range(10**6):
            tracker.log({"loss": step}, step=step)
            if step >= 300: hoard.append(bytearray(2**20))
    """
    done = scripts.run(code, exit_code=1, **QUIET)
    assert "MemoryError" in done.stderr
    steps = [step for step, _ in scripts.points()]
    assert steps == list(range(len(steps))) and len(steps) > 300
    assert scripts.event("finish")["exit_code"] == 1


QUOTA = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* A disk quota, for a kernel without: regular files take QUOTA bytes together, and no more until LIFTED is there. */
ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    static size_t used;
    struct stat file;
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (fd > 2 && !fstat(fd, &file) && S_ISREG(file.st_mode) && access(getenv("LIFTED"), F_OK)) {
        size_t left = (size_t)atol(getenv("QUOTA")) - used;
        if (!left) { errno = EDQUOT; return -1; }
        if (count > left) count = left;
        used += count;
    }
    return real(fd, bytes, count);
}
"""


@pytest.fixture
def quota(tmp_path: Path) -> Callable[[int], dict[str, str]]:
    """Variables under which a process meets EDQUOT: a fake for a fault, as not every kernel is built with quotas."""
    (tmp_path / "quota.c").write_text(QUOTA)
    command = ["cc", "-shared", "-fPIC", "-o", tmp_path / "quota.so", tmp_path / "quota.c", "-ldl"]
    subprocess.run(command, check=True)
    variables = {"LD_PRELOAD": str(tmp_path / "quota.so"), "LIFTED": str(tmp_path / "lifted")}
    return lambda size_bytes: {**variables, "QUOTA": str(size_bytes)}


def test_a_quota_costs_what_it_refuses_and_nothing_else(
    scripts: Scripts, quota: Callable[[int], dict[str, str]]
) -> None:
    done = scripts.run(
        """
        import os
        for step in range(1000): tracker.log({"loss": 1.0}, step=step)
        os.mknod(os.environ["LIFTED"])
        for step in range(1000, 1100): tracker.log({"loss": 1.0}, step=step)
        raise SystemExit(3)
        """,
        exit_code=3,
        **QUIET,
        **quota(20_001),
    )
    assert done.stderr.count("\n") == 1
    (file,) = scripts.folders()[0].glob("*.jsonl")
    whole = [line for line in file.read_text().split("\n") if line.endswith("}")]
    torn = [line for line in file.read_text().split("\n") if line and not line.endswith("}")]
    file.write_text("".join(line + "\n" for line in whole))
    steps = [step for step, _ in scripts.points()]
    kept = [step for step in steps if step < 1000]
    assert kept == list(range(len(kept))) and 0 < len(kept) < 1000
    assert steps[len(kept) :] == list(range(1000, 1100))
    assert len(torn) <= 1
    assert scripts.event("note")["reason"].startswith(f"{1000 - len(kept)} lines were refused")


def test_a_file_system_that_turns_read_only_ends_no_training(scripts: Scripts, small_disk: Path) -> None:
    done = scripts.run(
        f"""
        import subprocess
        tracker.log({{"loss": 1.0}}, step=0)
        tracker.current_run()._writer.file.close()  # a read-only remount needs that nobody writes
        subprocess.run(["mount", "-o", "remount,ro", "{small_disk}"], check=True)
        for step in range(1, 100): tracker.log({{"loss": 1.0}}, step=step)
        raise SystemExit(3)
        """,
        exit_code=3,
        **QUIET,
        TRACKER_SPOOL=str(small_disk / "dev.12"),
    )
    assert done.stderr.count("\n") <= 1
    elsewhere = [step for step, _ in scripts.points()]  # the home takes what the spool does not
    assert elsewhere == list(range(1, 100))
