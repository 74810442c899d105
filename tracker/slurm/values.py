"""Small values in Slurm's answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

from tracker.slurm.records import Resources

_NOTHING = frozenset(("", "N/A", "n/a", "(null)", "None", "Unknown", "NONE", "UNLIMITED", "INVALID", "None assigned"))
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)\Z")
_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d+)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)[nc]?\Z")
_SHARDS = re.compile(r"(?:^|,)gres/(?:shard|mps)=(\d+)")
_GRES_GPUS = re.compile(r"gpu:(?:[^:,()]+:)?(\d+)")
_CPU_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)\Z")
_TRES = re.compile(r"(?:^|,)(cpu|mem|node)=([^,]+)")
_NUMBERS = "AajJnst"
_PATTERN = re.compile(r"%(?:(\d{1,2}))?([%AajJNnstuxb])")


def given(value: str) -> str | None:
    """The value, or None for one of Slurm's ways to say that there is none."""
    return None if value in _NOTHING else value


def text(value: str) -> str | None:
    """What a user wrote, or None for nothing; a job may well be called `None`."""
    return None if value in ("", "(null)") else value


def accounted_name(value: str) -> str | None:
    """A job's name as accounting tells it, or None: for some seconds it says `allocation` where it lacks that."""
    return None if value == "allocation" else text(value)


def whole(value: str) -> int | None:
    """A whole number, or None."""
    return int(value) if re.fullmatch(r"\d{1,18}", value) else None


def moment(value: str) -> datetime | None:
    """A time, which SLURM_TIME_FORMAT=%s makes Slurm print in seconds since 1970."""
    seconds = whole(value)
    return datetime.fromtimestamp(seconds, tz=timezone.utc) if seconds else None


def limit_s(value: str) -> int | None:
    """Seconds of a time limit `days-hours:minutes:seconds`; None for UNLIMITED."""
    found = _LIMIT.match(value)
    if not found:
        return None
    days, hours, minutes, seconds = (int(one or 0) for one in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def gpu_count(tres: str) -> int:
    """GPUs in a list of trackable resources such as `cpu=1,gres/gpu=2,gres/gpu:a100=2`."""
    found = _GPUS.search(tres)
    return int(found[1]) if found else 0


def gres_gpus(gres: str) -> int:
    """GPUs in what nodes say of theirs, such as `gpu:a100:4(S:0-1),gpu:2`."""
    return sum(int(count) for count in _GRES_GPUS.findall(gres))


def cpu_time_s(value: str) -> float:
    """Seconds of processor time such as `1-02:03:04` or `00:01.250`."""
    found = _CPU_TIME.match(value)
    if not found:
        return 0.0
    days, hours, minutes, seconds = (float(one or 0) for one in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True)
class OutputFacts:
    """What names the files of a job's output."""

    job_id: int
    array_job_id: int | None
    array_task_id: int | None
    user: str
    name: str
    batch_node: str
    work_dir: str | None

    def paths(self, stdout: str | None, stderr: str | None) -> tuple[str | None, str | None]:
        """The files of both streams; the second is None when they share one, which 22.05 names twice."""
        out, err = self.path(stdout), self.path(stderr)
        return out, None if err == out else err

    def path(self, pattern: str | None) -> str | None:
        """The file behind a pattern; None without one, and for one with letters we do not know."""
        if not pattern:
            return None
        job_id = str(self.job_id)
        facts = {"j": job_id, "J": job_id, "A": str(self.array_job_id or job_id), "u": self.user, "x": self.name}
        facts |= {"N": self.batch_node, "n": "0", "t": "0", "s": "batch"}
        if self.array_task_id is not None:
            facts["a"] = str(self.array_task_id)
            if pattern.endswith(f"/slurm-{job_id}.out"):
                # 22.05 names the default file of a plain job for array tasks, too; sbatch writes another one.
                pattern = pattern[: -len(f"{job_id}.out")] + "%A_%a.out"
        return output_path(pattern, facts, self.work_dir)


def output_path(pattern: str, facts: Mapping[str, str], work_dir: str | None) -> str | None:
    """The file behind an output pattern such as `%x-%j.out` (man sbatch, "filename pattern").

    `facts` maps the letters to their values. None for a pattern with letters we do not know.
    """
    if pattern.startswith("\\\\"):
        return pattern[2:]
    unknown = False

    def value(found: re.Match[str]) -> str:
        nonlocal unknown
        width, letter = found.groups()
        plain = "%" if letter == "%" else facts.get(letter)
        unknown = unknown or plain is None
        # A width is for numbers only, and 10 at most.
        return (plain or "").zfill(min(int(width or 0), 10)) if letter in _NUMBERS else plain or ""

    path = _PATTERN.sub(value, pattern)
    if unknown or not path:
        return None
    return path if path.startswith("/") else f"{work_dir or ''}/{path}"


def size_bytes(value: str) -> int | None:
    """Bytes of a size such as `100M` or `1.50G`; Slurm's units are powers of 1024."""
    found = _SIZE.match(value)
    return int(float(found[1]) * _UNITS[found[2]]) if found else None


@lru_cache(maxsize=4096)  # most jobs of a queue ask for the same
def resources(tres: str) -> Resources:
    """A list of trackable resources such as `cpu=4,mem=8G,node=1,billing=4,gres/gpu=2,gres/gpu:a100=2`."""
    if not tres:
        return Resources()
    counts = dict(_TRES.findall(tres))
    return Resources(
        cpus=whole(counts.get("cpu", "")) or 0,
        memory_bytes=size_bytes(counts.get("mem", "")) or 0,
        nodes=whole(counts.get("node", "")) or 0,
        gpus=gpu_count(tres),
        shards=sum(int(count) for count in _SHARDS.findall(tres)),
    )


def exit_of(value: str) -> tuple[int | None, int | None]:
    """Exit code and signal of `3:0`, or of the wait status that squeue of 22.05 prints; Nones when there is none."""
    code, separator, number = value.partition(":")
    if separator:
        return whole(code), whole(number)
    return wait_status(whole(value))


def wait_status(status: int | None) -> tuple[int | None, int | None]:
    """Exit code and signal in a wait status, man 2 wait."""
    return (None, None) if status is None else (status >> 8 & 0xFF, status & 0x7F)
