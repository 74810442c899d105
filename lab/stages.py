"""Where the demo plays: a throwaway Slurm, the Slurm that is here, or no Slurm at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab.cluster import Cluster
from lab.daemon import wait_until
from lab.demo import Demo
from lab.place import CHECKOUT, LabError, free_port, labs_root
from lab.setup import VENV
from lab.verdict import Api

READY_WITHIN_S = 60


@contextlib.contextmanager
def own_slurm(port: int | None) -> Iterator[tuple[Demo, str]]:
    """A fresh throwaway Slurm with tracker beside it, and alice to submit; all of it is gone afterwards."""
    with _only_demo():
        cluster = Cluster("demo", nodes=2, gpus=2, port=port or free_port(8265))
        cluster.remove()
        folder = Path(pwd.getpwnam("alice").pw_dir if _has_alice() else "/home/alice") / "tracker-demo"
        try:
            print("a throwaway Slurm:")
            cluster.up()
            _hand_out_examples(folder)

            def ask(words: list[str]) -> str:
                done = cluster.run_as("alice", words, cwd=folder, env={"HOME": str(folder)})
                return _answer(words, done)

            api = Api(cluster.url, cluster.env()["TRACKER_TOKEN"])
            yield Demo(cluster.at.name, ask, api, nodes=2), cluster.login_url()
        finally:
            with _undisturbed():
                print("tearing down:")
                cluster.remove()
                shutil.rmtree(folder, ignore_errors=True)


def _has_alice() -> bool:
    try:
        return bool(pwd.getpwnam("alice"))
    except KeyError:
        return False


def _hand_out_examples(folder: Path) -> None:
    """Give alice a copy: the checkout may lie where she cannot read."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CHECKOUT / "examples", folder / "examples")
    alice = pwd.getpwnam("alice")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, alice.pw_uid, alice.pw_gid)
        path.chmod(0o755 if path.is_dir() else 0o644)


def require_slurm() -> None:
    """Raises LabError where no controller answers."""
    with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
        if "UP" in _run(["scontrol", "ping"], timeout_s=10).stdout:
            _require_no_hooks()
            return
    raise LabError("there is no working Slurm here: `sudo ./run demo` makes one, `./run demo --local` needs none")


def _require_no_hooks() -> None:
    hook = Path(_setting("TaskProlog", _run(["scontrol", "show", "config"]).stdout))
    with contextlib.suppress(OSError):
        if "TRACKER_SPOOL" in hook.read_text():
            raise LabError(f"this Slurm has tracker's hooks ({hook}): its jobs are seen on its own page already")


@contextlib.contextmanager
def slurm_here(port: int | None) -> Iterator[tuple[Demo, str]]:
    """The Slurm that this machine belongs to, as the user who calls; its jobs must see this checkout and the home."""
    with _server(port) as (home, api, login):
        env = {**os.environ, "PATH": f"{VENV}/bin:{os.environ['PATH']}", "TRACKER_HOME": str(home)}
        env.update(EXAMPLES=str(CHECKOUT / "examples"), HOME=str(home))

        def ask(words: list[str]) -> str:
            return _answer(words, _run(words, env=env, cwd=home))

        (home / "examples").symlink_to(CHECKOUT / "examples")
        gpus = "gpu" in ask(["sinfo", "-h", "-o", "%G"])
        nodes = len(set(ask(["sinfo", "-h", "-N", "-o", "%N"]).split()))
        options = () if gpus else ("--gres=none",)
        yield Demo(_setting("ClusterName", ask(["scontrol", "show", "config"])), ask, api, nodes, options), login


def _setting(name: str, config: str) -> str:
    """A value in the answer of `scontrol show config`."""
    pairs = (line.partition("=") for line in config.splitlines())
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


@contextlib.contextmanager
def no_slurm(port: int | None) -> Iterator[tuple[Path, Api, str]]:
    """A server alone; gives its home, API and login link."""
    with _server(port) as served:
        yield served


@contextlib.contextmanager
def _server(port: int | None) -> Iterator[tuple[Path, Api, str]]:
    """`tracker up` of this checkout on a home of its own, which is removed afterwards."""
    tracker = str(VENV / "bin" / "tracker")
    # In the user's home: the nodes of a cluster see that, and not this machine's /tmp.
    with tempfile.TemporaryDirectory(prefix=".tracker-demo-", dir=Path.home(), ignore_cleanup_errors=True) as folder:
        home, port = Path(folder), port or free_port(8265)
        env = {**os.environ, "TRACKER_HOME": folder, "PATH": f"{VENV}/bin:{os.environ['PATH']}"}
        env.pop("TRACKER_URL", None)
        with (home / "server.log").open("wb") as log, subprocess.Popen(
            [tracker, "up", "--port", str(port)], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as server:  # fmt: skip
            try:
                ready = wait_until(lambda: (home / "server.json").exists() or server.poll() is not None,
                                   within_s=READY_WITHIN_S)  # fmt: skip
                if not ready or server.poll() is not None:
                    raise LabError(f"the server does not start:\n{(home / 'server.log').read_text()[-2000:]}")
                token = _answer(["tracker"], _run([tracker, "token", "create"], env=env)).strip()
                login = _answer(["tracker"], _run([tracker, "login"], env=env)).strip()
                yield home, Api(f"http://127.0.0.1:{port}", token), login
            finally:
                with _undisturbed():
                    server.terminate()
                    server.wait(timeout=30)


def _run(
    words: list[str], env: dict[str, str] | None = None, cwd: Path | None = None, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _answer(words: list[str], done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise LabError(f"`{' '.join(words)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def _only_demo() -> Iterator[None]:
    """Hold the demo's lock: a second demo would tear down the first one's cluster."""
    labs_root().mkdir(mode=0o755, parents=True, exist_ok=True)
    with (labs_root() / "demo-runs.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("a demo runs already: end it there with Ctrl-C, then start again") from None
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no impatient second Ctrl-C leave half a cluster behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for_ctrl_c(login: str) -> None:
    """Keep everything up until the user has seen enough."""
    print(f"the page: {login}\nCtrl-C ends it and tears everything down", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()
