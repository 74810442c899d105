"""The Python that jobs of a lab run on: libraries shared by all labs, and tracker as a copy of this checkout.

A copy, because a checkout may lie in a folder that the lab's users may not enter, and because a running job should not
change under its feet.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.place import CHECKOUT, LabError, Place
from lab.setup import VENV, users_python

PACKAGES = ("tracker", "web", "slurm_hooks", "sbatch_templates")


def is_current(at: Place) -> bool:
    """Whether the lab has this checkout's tracker."""
    stamp = at.venv / ".lab-stamp"
    return stamp.exists() and stamp.read_text() == _fingerprint()


def install(at: Place) -> None:
    """Copy this checkout's tracker into the lab's Python, as a wheel, making that Python first where needed."""
    stamp = at.venv / ".lab-stamp"
    stamp.unlink(missing_ok=True)
    wanted = _fingerprint()
    if not (at.venv / "bin" / "python").exists() or not _finds_libraries(at):
        _make_venv(at)
    wheels = at.root / "dist"
    shutil.rmtree(wheels, ignore_errors=True)
    python = f"{VENV}/bin/python"
    _must([python, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)])
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--python", f"{at.venv}/bin/python"]
    _must([*pip, "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", *map(str, wheels.glob("*.whl"))])
    stamp.write_text(wanted)


def _make_venv(at: Place) -> None:
    shutil.rmtree(at.venv, ignore_errors=True)
    _must([f"{users_python()}/bin/python", "-m", "venv", "--without-pip", str(at.venv)])
    _libraries(at.venv).joinpath("lab.pth").write_text(f"{_libraries(users_python())}\n")


def _finds_libraries(at: Place) -> bool:
    pth = _libraries(at.venv) / "lab.pth"
    return pth.exists() and pth.read_text().strip() == str(_libraries(users_python()))


def _libraries(venv: Path) -> Path:
    return next(venv.glob("lib/python3*/site-packages"))


def _must(argv: list[str]) -> None:
    # As a developer's file mask may be 077, and alice has to read what is installed here.
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False, umask=0o022)
    if done.returncode:
        said = "\n".join(f"    {line}" for line in (done.stderr or done.stdout).splitlines()[-8:])
        raise LabError(f"tracker cannot be built from this checkout:\n{said}")


def _fingerprint() -> str:
    """Changes when a file of the checkout changes that the wheel is made of."""
    digest = hashlib.sha256()
    for file in [CHECKOUT / "pyproject.toml", *_files()]:
        facts = file.stat()
        digest.update(f"{file} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files() -> Iterator[Path]:
    for package in PACKAGES:
        for folder, folders, names in os.walk(CHECKOUT / package):
            folders[:] = sorted(name for name in folders if name not in ("node_modules", "__pycache__"))
            yield from (Path(folder) / name for name in sorted(names))
