"""Where this process writes, and writing there: one file per process, one write(2) per line."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from typing import Iterator, Mapping, NamedTuple

from tracker.client.identity import Job, slurm_job

NODE_SPOOL = "/var/spool/tracker"
_JOB_FOLDER = re.compile(r"(?:local\.[0-9a-f]{32}|[A-Za-z0-9_-]{1,64}\.[0-9]{1,19})\Z")


class Place(NamedTuple):
    """A spool folder. `run_id` is that of a run outside Slurm, `joined` that another process began this run."""

    folder: str
    run_id: str | None
    joined: bool


class NoSpool(Exception):
    """No folder can be written into."""


def places(env: Mapping[str, str]) -> Iterator[Place]:
    """Yield the folders that this process may write into, best first."""
    job = slurm_job(env)
    named = env.get("TRACKER_SPOOL")
    if named and os.path.isabs(named) and not _is_of_another_job(named, job, env):
        base = os.path.basename(named.rstrip("/"))
        yield Place(named, base[6:] if re.match(r"local\.[0-9a-f]{32}\Z", base) else None, joined=True)
    if job:
        name = f"{job.cluster}.{job.job_id}"
        prepared = f"{NODE_SPOOL}/jobs/{name}"
        if _is_mine(prepared):
            yield Place(prepared, None, joined=True)
        yield Place(f"{home(env)}/spool/jobs/{name}", None, joined=True)
    else:
        run_id = os.urandom(16).hex()
        yield Place(f"{home(env)}/spool/jobs/local.{run_id}", run_id, joined=False)


def home(env: Mapping[str, str]) -> str:
    """Return the folder of everything that tracker keeps for this user."""
    return os.path.expanduser(env.get("TRACKER_HOME") or "~/.local/share/tracker")


def _is_of_another_job(folder: str, job: Job | None, env: Mapping[str, str]) -> bool:
    # sbatch hands the submitter's environment on, so a job submitted from a run inherits the folder of that run.
    base = os.path.basename(folder.rstrip("/"))
    if job is None or not _JOB_FOLDER.match(base):
        return False
    het_ids = [value for name, value in env.items() if name.startswith("SLURM_JOB_ID_HET_GROUP_")]
    ids = [str(job.job_id), env.get("SLURM_HET_JOB_ID", ""), *het_ids]
    return base not in [f"{job.cluster}.{one}" for one in ids]


def _is_mine(folder: str) -> bool:
    try:
        return os.stat(folder).st_uid == os.geteuid()
    except OSError:
        return False


class SpoolFile:
    """The file of one writer. Only `append` writes, and what it has returned True for survives this process."""

    def __init__(self, folder: str, writer: str, *, shared: bool = False) -> None:
        """Make the file, or with `shared` go on with one that an earlier process of this user made. Raises OSError."""
        make_private(folder)
        self.writer = writer
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if shared else os.O_EXCL)
        self.fd = os.open(f"{folder}/{writer}.jsonl", flags, 0o600)
        self.torn = shared and self._ends_torn()

    def append(self, line: bytes) -> bool:
        """Hand a line to the kernel by one write. False if the file system takes only a part of it or nothing."""
        if self.torn:
            line = b"\n" + line
        try:
            written = os.write(self.fd, line)
        except OSError as problem:
            if problem.errno == errno.EBADF:
                self.fd = -1
            return False
        # The disk is full and half a line stands there. The next line begins with a newline, so that it is not spoilt.
        self.torn = written != len(line)
        return not self.torn

    def size_bytes(self) -> int:
        """Return the file's size; -1 when the file is gone, for then nobody will ever read what is appended."""
        try:
            status = os.fstat(self.fd)
        except OSError:
            return -1
        return status.st_size if status.st_nlink else -1

    def close(self) -> None:
        """Close the file, if it is open."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _ends_torn(self) -> bool:
        size = os.fstat(self.fd).st_size
        return size > 0 and os.pread(self.fd, 1, size - 1) != b"\n"


def make_private(folder: str) -> None:
    """Make a folder and those above it, for this user alone: os.makedirs would leave those above to the umask."""
    with suppress(FileExistsError):  # another process may be making it at the same moment
        try:
            os.mkdir(folder, 0o700)
        except FileNotFoundError:
            make_private(os.path.dirname(folder))
            os.mkdir(folder, 0o700)


def new_spool_file(env: Mapping[str, str]) -> tuple[Place, SpoolFile]:
    """Open a file of this process in the best folder that takes it. Raises NoSpool with the reasons."""
    reasons = []
    for place in places(env):
        try:
            return place, new_file(place.folder)
        except OSError as problem:
            reasons.append(f"{place.folder}: {problem.strerror}")
    raise NoSpool("; ".join(reasons))


def new_file(folder: str) -> SpoolFile:
    """Open a file of a new writer in this folder, which is made if it is missing. Raises OSError."""
    return SpoolFile(folder, os.urandom(16).hex())
