"""Slurm's control groups: real ones of this machine's version, and both versions as trees of files."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.hardware.conftest import BUSY, MIB, Start, Watch, cpu_s, end, slurm_job
from tests.conftest import wait_until
from tracker.agent.hardware import cgroups
from tracker.agent.hardware.job import Roots

UID = 65534
V1 = Path(cgroups.ROOT, "memory", "memory.stat").exists()


def tree(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_version_2_as_slurmstepd_makes_it(tmp_path: Path) -> None:
    stat = "anon 104857600\nfile 73400320\nkernel 5242880\nshmem 20971520\ninactive_anon 0\n"
    scope = tmp_path / "system.slice" / "slurmstepd.scope"
    job = scope / "job_12"
    tree(
        job, cpu__stat="usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n", memory__stat=stat,
        memory__max="209715200\n", memory__current="199229440\n", cgroup__procs="",
    )  # fmt: skip
    tree(job / "step_batch" / "slurm", cgroup__procs="100\n")
    tree(job / "step_batch" / "user" / "task_0", cgroup__procs="101\n102\n")
    groups = cgroups.find(str(tmp_path), "n1", UID, 12)
    assert groups is not None
    assert groups.usage() == cgroups.Usage(2.5, 120 * MIB, 200 * MIB)
    assert groups.pids() == [100, 101, 102]
    assert cgroups.find(str(tmp_path), "n1", UID, 13) is None


def test_version_2_without_limit_and_with_several_slurmd_on_a_machine(tmp_path: Path) -> None:
    job = tmp_path / "system.slice" / "n1_slurmstepd.scope" / "job_12"
    tree(job, cpu__stat="usage_usec 1\n", memory__stat="anon 4096\n", memory__max="max\n")
    groups = cgroups.find(str(tmp_path), "n1", UID, 12)
    assert groups is not None
    assert groups.usage() == cgroups.Usage(1e-6, 4096, None)
    assert cgroups.find(str(tmp_path), "n2", UID, 12) is None


def test_version_1_without_the_files_pages_in_the_cache(tmp_path: Path) -> None:
    stat = "cache 1\nrss 2\ntotal_cache 73400320\ntotal_rss 104857600\ntotal_shmem 20971520\n"
    group = f"slurm/uid_{UID}/job_12"
    tree(tmp_path / "memory" / group, memory__stat=stat, memory__limit_in_bytes="209715200\n")
    tree(tmp_path / "cpuacct" / group, cpuacct__usage="2500000000\n")
    tree(tmp_path / "freezer" / group / "step_batch", cgroup__procs="101\n")
    groups = cgroups.find(str(tmp_path), "n1", UID, 12)
    assert groups is not None
    assert groups.usage() == cgroups.Usage(2.5, 120 * MIB, 200 * MIB)
    assert groups.pids() == [101]
    assert cgroups.find(str(tmp_path), "n1", UID + 1, 12) is None


def test_groups_that_are_gone_tell_nothing(tmp_path: Path) -> None:
    job = tmp_path / "system.slice" / "slurmstepd.scope" / "job_12"
    tree(job)
    groups = cgroups.find(str(tmp_path), "n1", UID, 12)
    assert groups is not None
    job.rmdir()
    assert groups.usage() is None


class RealGroups:
    """A job's groups on this machine, as Slurm makes them for the node `name`."""

    def __init__(self) -> None:
        self.node = f"t{uuid.uuid4().hex[:8]}"
        if V1:
            places = [f"{one}/slurm_{self.node}/uid_{UID}/job_12" for one in ("memory", "cpuacct", "freezer")]
        else:
            places = [f"system.slice/{self.node}_slurmstepd.scope/job_12"]
        self.folders = [Path(cgroups.ROOT, place) for place in places]

    def make(self) -> None:
        for folder in self.folders:
            folder.mkdir(parents=True)
            if not V1:
                for above in (Path(cgroups.ROOT), *reversed(folder.parents[: len(folder.parts) - 4])):
                    (above / "cgroup.subtree_control").write_text("+memory +cpu")
        limit = "memory.limit_in_bytes" if V1 else "memory.max"
        (self.folders[0] / limit).write_text(str(800 * MIB))

    def take(self, pid: int) -> None:
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        for folder in self.folders:
            while folder.name != "system.slice" and folder.parent != Path(cgroups.ROOT) and folder.exists():
                folder.rmdir()
                folder = folder.parent
                if any(path.is_dir() for path in folder.iterdir()):
                    break


@pytest.fixture
def real_groups() -> Iterator[RealGroups]:
    groups = RealGroups()
    try:
        groups.make()
    except OSError as refused:
        groups.remove()
        pytest.fail(
            f"this test makes control groups as slurmd does, which needs root and a writable {cgroups.ROOT}: {refused}"
        )
    yield groups
    left = [folder / "cgroup.procs" for folder in groups.folders if folder.exists()]
    wait_until(lambda: not any(procs.read_text() for procs in left))
    groups.remove()


def test_a_job_in_real_groups_is_measured_until_its_end(real_groups: RealGroups, start: Start, tmp_path: Path) -> None:
    busy = start(BUSY)
    real_groups.take(busy.pid)
    go = tmp_path / "go"
    big = start(f"""
import os, time
while not os.path.exists({str(go)!r}): time.sleep(0.01)
kept = b'x' * 200_000_000
print(flush=True)
time.sleep(60)
""")
    real_groups.take(big.pid)
    go.touch()
    assert big.stdout is not None
    big.stdout.readline()
    watch = Watch(slurm_job(UID), roots=Roots(), node=real_groups.node)
    watch.look()
    was_s = cpu_s(busy.pid)
    wait_until(lambda: cpu_s(busy.pid) > was_s + 0.7)
    (sample,) = watch.look()
    assert 2 < sample["system/cpu.percent"] < 130  # the machine may be busy
    assert 190 * MIB < sample["system/memory_bytes"] < 400 * MIB
    assert sample["system/memory.percent"] == pytest.approx(sample["system/memory_bytes"] / (800 * MIB) * 100, abs=0.1)
    assert 0 <= sample["system/node.memory_percent"] <= 100
    end(big)
    was_s = cpu_s(busy.pid)
    wait_until(lambda: cpu_s(busy.pid) > was_s + 0.6)
    assert watch.look() == []  # no sample is due, yet this look is what the last one will tell
    end(busy)
    real_groups.remove()
    (last,) = watch.look()
    assert last["system/memory_bytes"] < 100 * MIB
    assert last["system/cpu.percent"] > 2
