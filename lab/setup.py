"""The set-up: a virtual environment, the page's scripts, Debian's packages and the Python of a cluster's users.

Each part has a stamp that is written last: what is stamped is whole, what an interruption left is made anew.
Needs nothing but the system's Python.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import tomllib

from lab import debian
from lab.place import CHECKOUT, LabError, labs_root
from lab.progress import other_owner, run_step
from lab.release import VERSIONS, Release

VENV = CHECKOUT / ".venv"
CONSTRAINTS = CHECKOUT / "constraints.txt"
PAGE = CHECKOUT / "web"
USERS_LIBRARIES = ("numpy", "scikit-learn")  # what the sample jobs compute with
DEBIAN_PACKAGES = {"cluster": debian.SLURM, "test": (*debian.SLURM, *debian.TESTS)}
THIS_CHECKOUT = ("-e", f"{CHECKOUT}[server]", "--group", f"{CHECKOUT}/pyproject.toml:dev")
UNFINISHED = "unfinished"
ROOM_NEEDED_BYTES = 1_000_000_000
PINS_HEAD = "# What every set-up installs, to the version. Renewed by `./run setup --upgrade`."
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")


def users_python() -> Path:
    """The Python whose libraries all labs share; it lies outside the checkout, which may be closed to other users."""
    return labs_root() / "python"


def set_up(group: str) -> None:
    """Make what `group` (`venv`, `samples`, `cluster` or `test`) needs. Raises LabError with the way out."""
    packages = _missing_packages(group)
    if packages or group in DEBIAN_PACKAGES:
        _as_root_only(packages)
        labs_root().mkdir(mode=0o755, parents=True, exist_ok=True)
        with _alone(labs_root()):
            debian.restore_policy()
            packages = _missing_packages(group)
            if packages:
                debian.install(packages, labs_root() / "setup-debian.log")
    with _alone(CHECKOUT):
        _make_venv()
        _make_page()
        if group == "samples":
            _add_samples_libraries()
    if group in DEBIAN_PACKAGES:
        with _alone(labs_root()):
            _make_users_python()
            for version in VERSIONS if group == "test" else ():
                Release(version).install()  # here, as tests that need them start at the same moment


def end_orderly_on_sigterm() -> None:
    """Let SIGTERM do what Ctrl-C does, so that what is half-done gets put back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _missing_packages(group: str) -> list[str]:
    wanted = [] if importlib.util.find_spec("ensurepip") else ["python3-venv"]
    if group not in DEBIAN_PACKAGES:
        return wanted
    if not debian.available():
        raise LabError(
            "this needs Debian 12 or Ubuntu 24.04, or newer (there is no apt-get here); "
            "`./run demo --local` runs the samples without Slurm"
        )
    return wanted + debian.missing(DEBIAN_PACKAGES[group])


def _as_root_only(packages: list[str]) -> None:
    if os.geteuid() != 0:
        what = f"install {' '.join(packages)}" if packages else "run a Slurm of its own"
        raise LabError(f"this has to {what}, which needs root: start it as root or with sudo")
    if packages and not debian.available():
        raise LabError(f"{' '.join(packages)} is missing and there is no apt-get to install it: install it by hand")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder; a second set-up waits and says so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("  another set-up is at work; waiting for it", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# -- stamps


def _fingerprint(*files: Path, words: str = "") -> str:
    digest = hashlib.sha256(f"{sys.base_prefix} {sys.version} {words}".encode())
    for file in files:
        digest.update(file.read_bytes() if file.exists() else b"-")
    return digest.hexdigest()


@contextmanager
def _stamped(stamp: Path, wanted: str) -> Iterator[bool]:
    """Tell whether there is work to do, and stamp it when it was done."""
    work = not stamp.exists() or stamp.read_text() != wanted
    yield work
    if work:
        _write(stamp, wanted)


def _write(stamp: Path, text: str) -> None:
    """Write a stamp that belongs to whom its folder belongs."""
    stamp.write_text(text)
    if os.geteuid() == 0:
        folder = stamp.parent.stat()
        os.chown(stamp, folder.st_uid, folder.st_gid)


def _was_interrupted(venv: Path) -> bool:
    """Whether a virtual environment is half-made: marked so, or unable to install anything."""
    stamp = venv / ".lab-stamp"
    if stamp.exists() and stamp.read_text() == UNFINISHED:
        return True
    python = venv / "bin" / "python"
    asked = [str(python), *PIP, "--version"]
    return not python.exists() or subprocess.run(asked, capture_output=True, check=False).returncode != 0


# -- virtual environments


def _pyproject() -> dict[str, dict[str, object]]:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def server_libraries() -> list[str]:
    """What `slurm-tracker[server]` needs, as pyproject.toml has it."""
    extras = _pyproject()["project"]["optional-dependencies"]
    assert isinstance(extras, dict)
    return [str(requirement) for requirement in extras["server"]]


def _make_venv() -> None:
    stamp = VENV / ".lab-stamp"
    with _stamped(stamp, _fingerprint(CHECKOUT / "pyproject.toml", CONSTRAINTS)) as work:
        if work:
            python = str(VENV / "bin" / "python")
            steps: list[list[str]] = [
                [python, *PIP, "install", "--upgrade", *_constrained(), "pip", "hatchling", "editables"],
                [python, *PIP, "install", *_constrained(), "--no-build-isolation", *THIS_CHECKOUT],
            ]
            _fill_venv("Python libraries (.venv)", VENV, steps, owner_of=CHECKOUT)


def _add_samples_libraries() -> None:
    """Where the samples run on .venv itself, it needs what they compute with."""
    stamp = VENV / ".lab-samples-stamp"
    with _stamped(stamp, _fingerprint(CONSTRAINTS, words=" ".join(USERS_LIBRARIES))) as work:
        if work:
            steps = [[f"{VENV}/bin/python", *PIP, "install", *_constrained(), *USERS_LIBRARIES]]
            run_step("libraries of the samples", steps, log=VENV / "setup-samples.log", as_owner_of=CHECKOUT)


def _make_users_python() -> None:
    venv = users_python()
    wanted = _fingerprint(CONSTRAINTS, words=" ".join([*server_libraries(), *USERS_LIBRARIES]))
    with _stamped(venv / ".lab-stamp", wanted) as work:
        if work:
            python = str(venv / "bin" / "python")
            steps: list[list[str]] = [
                [python, *PIP, "install", "--upgrade", *_constrained(), "pip"],
                [python, *PIP, "install", *_constrained(), *server_libraries(), *USERS_LIBRARIES],
            ]
            _fill_venv("Python libraries of the cluster's users", venv, steps, owner_of=None)


def make_peers_python(pins: Path) -> Path:
    """The Python with the libraries in `pins`, made anew when they change. Raises LabError with the way out."""
    try:
        labs_root().mkdir(mode=0o755, parents=True, exist_ok=True)
        with _alone(labs_root()), _stamped(labs_root() / "peers" / ".lab-stamp", _fingerprint(pins)) as work:
            if work:
                venv = labs_root() / "peers"
                steps = [[f"{venv}/bin/python", *PIP, "install", "-r", str(pins)]]
                _fill_venv("libraries of other trackers (1 GB)", venv, steps, owner_of=None)
    except OSError as problem:
        raise LabError(f"{problem.filename}: {problem.strerror}; name a folder of yours in TRACKER_LAB") from None
    return labs_root() / "peers" / "bin" / "python"


def _fill_venv(title: str, venv: Path, steps: list[list[str]], *, owner_of: Path | None) -> None:
    """Make a virtual environment, or bring one up to date; one that was left half-made is made anew."""
    if shutil.disk_usage(venv.parent).free < ROOM_NEEDED_BYTES:
        raise LabError(f"{title} need 1 GB of free disk space in {venv.parent}: make room and start again")
    if venv.exists() and _was_interrupted(venv):
        shutil.rmtree(venv)
    if not venv.exists():
        steps = [[sys.executable, "-m", "venv", str(venv)], *steps]
        _make_folder(venv, owner_of)
    _write(venv / ".lab-stamp", UNFINISHED)
    try:
        run_step(title, steps, log=venv / "setup.log", as_owner_of=owner_of)
    except LabError:
        (venv / ".lab-stamp").unlink()  # pip takes back what it could not finish: no need to start from nothing
        raise


def _make_folder(folder: Path, owner_of: Path | None) -> None:
    folder.mkdir(mode=0o755)
    owner = other_owner(owner_of) if owner_of else None
    if owner:
        os.chown(folder, owner.pw_uid, owner.pw_gid)


def _constrained() -> list[str]:
    return ["-c", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []


# -- the page's scripts


def _make_page() -> None:
    lock = PAGE / "package-lock.json"
    if not lock.exists():
        return
    stamp, vendored = VENV / ".lab-page-stamp", PAGE / "static" / "vendor"
    if not vendored.exists():
        stamp.unlink(missing_ok=True)
    with _stamped(stamp, _fingerprint(lock, PAGE / "vendor.py")) as work:
        if work:
            npm = [f"{VENV}/bin/npm", "ci", "--prefix", str(PAGE), "--ignore-scripts", "--no-audit", "--no-fund"]
            steps: list[list[str]] = [npm, [f"{VENV}/bin/python", "-m", "web.vendor"]]
            env = {**os.environ, "PATH": f"{VENV}/bin:{os.environ['PATH']}"}
            run_step("scripts of the page", steps, log=VENV / "setup-page.log", env=env, as_owner_of=CHECKOUT)


# -- new pins


def upgrade() -> None:
    """Ask the package registry for the newest of everything and pin that in constraints.txt."""
    with tempfile.TemporaryDirectory(prefix="tracker-upgrade-") as folder:
        venv = Path(folder) / "venv"
        python = str(venv / "bin" / "python")
        install = [python, *PIP, "install", "--upgrade"]
        steps: list[list[str]] = [
            [sys.executable, "-m", "venv", str(venv)],
            [*install, "pip"],
            [*install, "--group", f"{CHECKOUT}/pyproject.toml:dev", *server_libraries(), *USERS_LIBRARIES],
        ]
        run_step("newest Python libraries", steps, log=Path(folder) / "log")
        listed = subprocess.run(
            [python, *PIP, "list", "--format=freeze"], capture_output=True, text=True, check=True
        ).stdout
    pins = sorted(line for line in listed.splitlines() if not line.startswith("setuptools=="))
    CONSTRAINTS.write_text("\n".join([PINS_HEAD, *pins]) + "\n")
    print(f"  pinned {len(pins)} packages in {CONSTRAINTS.name}")
