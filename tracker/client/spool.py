"""Where this process writes, and writing there: one file per process, one write(2) per line."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from contextlib import suppress

from tracker.client.identity import Job, process_identity, slurm_job
from tracker.client.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Iterable, Iterator, Mapping

NODE_SPOOL = "/var/spool/tracker"
_LOCAL_FOLDER = re.compile(r"local\.[0-9a-f]{32}\Z")
JOB_FOLDER = re.compile(r"(?:local\.[0-9a-f]{32}|[A-Za-z0-9_-]{1,64}\.[1-9][0-9]{0,17})\Z")
_WRITER_MOST_CHARS = 64
_FD_LEAST = 512
_LOCAL_KINDS = frozenset(
    b"bcachefs btrfs devtmpfs exfat ext2 ext3 ext4 f2fs jfs overlay ramfs rootfs tmpfs ufs vfat xfs zfs".split()
)


class Place(NamedTuple):
    """A spool folder. `run_id` is that of a run that is no job's, `joined` that another process began this run."""

    folder: str
    run_id: str | None
    joined: bool
    writer_prefix: str = ""  # of the files of a run in the folder of another


class NoSpool(Exception):
    """No folder can be written into."""


def places(env: Mapping[str, str]) -> Iterator[Place]:
    """Yield the folders that this process may write into, best first."""
    job = slurm_job(env)
    prepared = f"{NODE_SPOOL}/jobs/{job.cluster}.{job.job_id}" if job else None
    if prepared and _is_mine(prepared):
        yield Place(prepared, None, joined=True)
    named = env.get("TRACKER_SPOOL")
    if named and named != prepared and os.path.isabs(named) and not _is_of_another_job(named, job, env):
        base = os.path.basename(named.rstrip("/"))
        run_id = base[6:] if _LOCAL_FOLDER.match(base) else None
        yield Place(named, run_id, joined=not (run_id and env.get("TRACKER_BEGUN_BY") == this_process()))
    if job:
        yield Place(f"{home(env)}/spool/jobs/{job.cluster}.{job.job_id}", None, joined=True)
    else:
        run_id = os.urandom(16).hex()
        yield Place(f"{home(env)}/spool/jobs/local.{run_id}", run_id, joined=False)


def places_of_new_run(env: Mapping[str, str]) -> Iterator[Place]:
    """Yield the places for a run beside that of this process, best first.

    In a job these are the job's own folders, for nobody but root makes others on a node; the writer's name tells the
    run. Outside Slurm it is a folder beside that of the run which this process belongs to.
    """
    run_id = os.urandom(16).hex()
    if slurm_job(env):
        for place in places(env):
            yield Place(place.folder, run_id, joined=False, writer_prefix=f"run_{run_id}_")
        return
    folder, base = os.path.split(env.get("TRACKER_SPOOL", "").rstrip("/"))
    if os.path.isabs(folder) and _LOCAL_FOLDER.match(base):
        yield Place(f"{folder}/local.{run_id}", run_id, joined=False)
    yield Place(f"{home(env)}/spool/jobs/local.{run_id}", run_id, joined=False)


def this_process() -> str:
    """Return what tells whether a run was begun by this process: it may have become another program by execve(2)."""
    return f"{os.getpid()} {process_identity(os.getpid())}"


def home(env: Mapping[str, str]) -> str:
    """Return the folder of everything that tracker keeps for this user."""
    return os.path.expanduser(env.get("TRACKER_HOME") or "~/.local/share/tracker")


def _is_of_another_job(folder: str, job: Job | None, env: Mapping[str, str]) -> bool:
    # sbatch hands the submitter's environment on, so a job submitted from a run inherits the folder of that run.
    base = os.path.basename(folder.rstrip("/"))
    if job is None or not JOB_FOLDER.match(base):
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
        self.fd = _out_of_the_way(os.open(f"{folder}/{writer}.jsonl", flags, 0o600))
        status = os.fstat(self.fd)
        self._identity = status.st_dev, status.st_ino
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
        if (status.st_dev, status.st_ino) != self._identity:
            self.fd = -1  # the script closed it, and opened something of its own that has the number now
            return -1
        return status.st_size if status.st_nlink else -1

    def close(self) -> None:
        """Close the file, if it is open."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):  # the script closed it already
                os.close(fd)

    def _ends_torn(self) -> bool:
        size = os.fstat(self.fd).st_size
        return size > 0 and os.pread(self.fd, 1, size - 1) != b"\n"


def _out_of_the_way(fd: int) -> int:
    """Move a descriptor up: scripts that close all of theirs get the low numbers again for files of their own."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FD_LEAST)
    except OSError:  # a limit of the system
        return fd
    os.close(fd)
    return high


def make_private(folder: str) -> None:
    """Make a folder and those above it, for this user alone: os.makedirs would leave those above to the umask."""
    with suppress(FileExistsError):  # another process may be making it at the same moment
        try:
            os.mkdir(folder, 0o700)
        except FileNotFoundError:
            make_private(os.path.dirname(folder))
            os.mkdir(folder, 0o700)


def new_spool_file(candidates: Iterable[Place]) -> tuple[Place, SpoolFile]:
    """Open a file of this process in the first place that takes it. Raises NoSpool with the reasons."""
    reasons = []
    for place in candidates:
        try:
            return place, new_file(place)
        except OSError as problem:
            reasons.append(f"{place.folder}: {problem.strerror}")
    raise NoSpool("; ".join(reasons))


def new_file(place: Place) -> SpoolFile:
    """Open a file of a new writer in this folder, which is made if it is missing. Raises OSError."""
    return SpoolFile(place.folder, (place.writer_prefix + os.urandom(16).hex())[:_WRITER_MOST_CHARS])


def is_on_network(folder: str, mounts: str = "/proc/self/mountinfo") -> bool:
    """Say whether other hosts may look at this folder, which then see lines later than this one; False if unknown."""
    try:
        with open(mounts, "rb") as file:
            lines = [line.split() for line in file]
    except OSError:
        return False
    path, best, kind = os.fsencode(os.path.realpath(folder)) + b"/", b"", b"ext4"
    for words in lines:
        point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal.group(1), 8) & 255]), words[4]).rstrip(b"/")
        if path.startswith(point + b"/") and len(point) >= len(best):  # of two on one point the later hides the other
            best, kind = point, words[words.index(b"-") + 1]
    return kind not in _LOCAL_KINDS
