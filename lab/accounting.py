"""The lab's accounting: MariaDB, slurmdbd and the accounts in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from lab.daemon import MARK, Daemon, wait_until
from lab.place import LabError, Place
from lab.slurm_daemons import release

ACCOUNTS = {"phys": ("alice", "root"), "bio": ("bob",)}


def mariadb(at: Place) -> Daemon:
    """The database server; it listens on a socket in the lab's folder only."""
    argv = [
        "/usr/sbin/mariadbd",
        "--no-defaults",
        "--user=mysql",
        f"--datadir={at.database}",
        f"--socket={at.database_socket}",
        f"--pid-file={at.database}/mariadb.pid",
        f"--tmpdir={_temporary(at)}",
        "--skip-networking",
        "--innodb-buffer-pool-size=64M",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-lock-wait-timeout=900",
        "--loose-innodb-snapshot-isolation=OFF",
    ]
    return Daemon(at, "mariadb", argv)


def slurmdbd(at: Place) -> Daemon:
    """Slurm's accounting daemon; it has no option for the database's socket but this variable."""
    return Daemon(at, "slurmdbd", [release(at).sbin / "slurmdbd", "-D"], {"MYSQL_UNIX_PORT": str(at.database_socket)})


def start_mariadb(at: Place) -> None:
    """Start the database server, first making its files if they are missing or half-made."""
    daemon = mariadb(at)
    if not daemon.pid():
        _make_folder(_temporary(at))
        _make_data(at)
        daemon.start()
    daemon.wait_ready(lambda: _sql(at, "SELECT 1"))
    # 26.05 died when it had to make its database itself.
    _sql(at, "CREATE DATABASE IF NOT EXISTS slurm_acct_db")


def _temporary(at: Place) -> Path:
    """Not /tmp: a MariaDB that starts removes there what it takes for its own, and is another lab's."""
    return at.root / "db-tmp"


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o755, exist_ok=True)
    mysql = pwd.getpwnam("mysql")
    os.chown(folder, mysql.pw_uid, mysql.pw_gid)


def _make_data(at: Place) -> None:
    finished = at.database / ".lab-made"
    if finished.exists():
        return
    shutil.rmtree(at.database, ignore_errors=True)
    _make_folder(at.database)
    argv = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={at.database}"]
    argv += [f"--tmpdir={_temporary(at)}", "--auth-root-authentication-method=normal", "--skip-test-db"]
    # The mark, so that what an interruption leaves of it is found and ended.
    env = {**os.environ, MARK: f"{at.root}:mariadb-install-db"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise LabError(f"mariadb-install-db failed: {(done.stderr or done.stdout).strip()[-500:]}")
    finished.touch()


def _sql(at: Place, statement: str) -> bool:
    argv = ["mariadb", "--no-defaults", f"--socket={at.database_socket}", "--user=root", "--batch", "-e", statement]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def start_slurmdbd(at: Place, env: dict[str, str]) -> None:
    """Start slurmdbd and wait until it answers; slurmctld started before that would end at once."""
    daemon = slurmdbd(at)
    daemon.start()
    daemon.wait_ready(lambda: _sacctmgr(env, "-n", "list", "cluster") is not None)


def make_accounts(at: Place, env: dict[str, str]) -> None:
    """Give the lab's users their accounts. Doing it again changes nothing."""
    known = _sacctmgr(env, "-nP", "list", "association", f"cluster={at.name}", "format=account,user") or ""
    present = {tuple(line.split("|")[:2]) for line in known.splitlines()}
    for account, users in ACCOUNTS.items():
        if (account, "") not in present:
            _must(env, "add", "account", account, f"cluster={at.name}")
        missing = [user for user in users if (account, user) not in present]
        if missing:
            _must(env, "add", "user", ",".join(missing), f"account={account}", f"cluster={at.name}")


def register_cluster(at: Place, env: dict[str, str]) -> None:
    """Make the cluster known to accounting, so that accounts can be added before slurmctld starts."""
    known = _sacctmgr(env, "-nP", "list", "cluster", "format=cluster") or ""
    if at.name not in known.split():
        _must(env, "add", "cluster", at.name)


def _must(env: dict[str, str], *words: str) -> None:
    problems: list[str] = []

    def done() -> bool:
        answer = subprocess.run(["sacctmgr", "-i", *words], env=env, capture_output=True, text=True, check=False)
        problems.append(answer.stderr or answer.stdout)
        return answer.returncode == 0 or "already exists" in problems[-1]

    if not wait_until(done, within_s=60, pause_s=0.2):
        raise LabError(f"`sacctmgr {' '.join(words)}` failed: {problems[-1].strip()}")


def _sacctmgr(env: dict[str, str], *words: str) -> str | None:
    answer = subprocess.run(["sacctmgr", *words], env=env, capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else None
