"""What a login by MUNGE costs: a credential made, decoded, and exchanged for a token, which serves many requests."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from bench._figures import Row, Table, median, p99, play, progress
from bench._servers import each_kind, place
from lab.place import LabError
from tracker.actions.log_in_by_munge import log_in
from tracker.credentials import new_claim
from tracker.settings import Settings
from tracker.slurm.munge import decode
from tracker.store.database import Database

LOGINS = 200
URL = "http://127.0.0.1:8265"


def measure() -> list[Table]:
    """One table, by database."""
    rows = []
    with place() as folder, _munged() as socket, each_kind(folder, ["postgresql", "sqlite"]) as databases:
        for kind, url in databases.items():
            progress(f"  {kind}: {LOGINS} logins")
            (folder / kind).mkdir(parents=True, exist_ok=True)
            db = Database(url)
            db.upgrade()
            rows += _logins(kind, db, Settings(munge_socket=socket))
            db.close()
    return [Table("Logging in by MUNGE", rows)]


def _logins(kind: str, db: Database, settings: Settings) -> list[Row]:
    """The steps in turn; what the server does holds `unmunge`."""

    def made() -> str:
        argv, claim = ["munge", "-S", settings.munge_socket], new_claim(URL).packed()
        return subprocess.run(argv, input=claim, capture_output=True, check=True).stdout.decode().strip()

    def exchanged(credential: str) -> object:
        return log_in(db, settings, credential, for_agent=False, now=datetime.now(timezone.utc))

    steps: dict[str, Callable[[str], object]] = {
        "`munge`, by the program": lambda _: made(),
        "`unmunge`, by the server": lambda credential: decode(credential, settings.munge_socket),
        "all that the server does": exchanged,
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(LOGINS):
        for name, step in steps.items():
            credential = made()
            cpu_s, wall_s = _cpu_s(), time.perf_counter()
            step(credential)
            took[name].append((_cpu_s() - cpu_s, time.perf_counter() - wall_s))
    return [
        {
            "": f"{kind}: {name}", "n": LOGINS, "wall median ms": median([wall_s for _, wall_s in spent]) * 1000,
            "wall p99 ms": p99([wall_s for _, wall_s in spent]) * 1000,
            "CPU median ms": median([cpu_s for cpu_s, _ in spent]) * 1000,
        }
        for name, spent in took.items()
    ]  # fmt: skip


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def _munged() -> Iterator[str]:
    """The socket of a munged."""
    folder = Path(tempfile.mkdtemp(prefix="tracker-munged-"))
    folder.chmod(0o755)
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_bytes(os.urandom(1024))
    argv = ["/usr/sbin/munged", "--foreground", "--force", f"--key-file={folder}/key", f"--socket={folder}/socket"]
    argv += [f"--pid-file={folder}/pid", f"--log-file={folder}/log", f"--seed-file={folder}/seed"]
    daemon = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 10
        while subprocess.run(["munge", "-n", "-S", f"{folder}/socket"], capture_output=True, check=False).returncode:
            if time.monotonic() > deadline_s:
                raise LabError("munged does not answer")
            time.sleep(0.05)
        yield f"{folder}/socket"
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(play("munge", __doc__ or "", measure))
