"""What is captured once of a script: how it was called, its code, its surroundings (docs/spool.md, `capture`).

Runs in the background, looks at little (tracker.client.pace), starts no program and asks no network. Nothing that looks
like a secret is kept (tracker.client.redact). What cannot be found out is told under `notes`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress

from tracker.client import encode, git, redact
from tracker.client.identity import arguments, slurm_job, whole_number, working_folder
from tracker.client.pace import PIECE_BYTES, OutOfTime, Pace, read_plain
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

    _Finder = Callable[[Mapping[str, str], Pace], Any]

MOST_SCRIPT_BYTES = 64 * 1024
MOST_PACKAGES = 2000
MOST_FOLDERS = 100  # of sys.path
MOST_IN_FOLDER = 5000
MOST_PROCESSES = 3000
MOST_ANCESTORS = 32
MOST_PIECES = 64  # of a file of /proc
_SCRIPT = "/slurm_script"
_LEFT_OUT_FIRST = ("diff", "packages", "script", "env", "modules", "argv")  # where all together is too long
_DISTRIBUTION = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._]*)(?:-([A-Za-z0-9][A-Za-z0-9.!+_]*))?(?:-py[0-9.]+)?\.(?:dist-info|egg-info|egg-link|egg)\Z"
)
_NOTHING: tuple[Any, ...] = (None, "", [], {})
_CONTAINER_FILES = (("/.singularity.d", "singularity"), ("/.dockerenv", "docker"), ("/run/.containerenv", "podman"))


def line(env: Mapping[str, str], code_folders: list[str], pace: Pace) -> bytes:
    """Return the line of the spool that tells everything, never longer than a line may be.

    The repository of the first of `code_folders` that lies in one is the code's.
    """
    event = facts(env, code_folders, pace)
    told = encode.line_of(event)
    for name in _LEFT_OUT_FIRST:
        if len(told) <= encode.MAX_LINE_BYTES:
            return told
        holder = event.get("git", {}) if name == "diff" else event
        if holder.pop(name, None) is not None:
            event["notes"] = [*event.get("notes", []), f"{name} is left out: all together was too long"]
            told = encode.line_of(event)
    if len(told) <= encode.MAX_LINE_BYTES:
        return told
    return encode.line_of({"event": "capture", "time": event["time"], "notes": ["what was found is too long"]})


def facts(env: Mapping[str, str], code_folders: list[str], pace: Pace) -> dict[str, Any]:
    """Find everything out; what is unknown is left out."""
    job = slurm_job(env)
    event: dict[str, Any] = {
        "event": "capture",
        "version": 1,
        "time": time.time(),
        "attempt": job.attempt if job else 1,
    }
    notes: list[str] = []
    redact.prepare(pace)
    finders: dict[str, _Finder] = {**_FACTS, "git": lambda _env, pace: git.describe(code_folders, pace)}
    for name, find in finders.items():
        try:
            value = find(env, pace)
        except OutOfTime:
            notes.append(f"{name}: there was no time to find it out")
        except Exception as problem:  # the outermost place of a fact: the others stand
            notes.append(f"{name}: {type(problem).__name__}: {problem}"[:300])
        else:
            if value not in _NOTHING:
                event[name] = value
    if notes:
        event["notes"] = notes
    return event


def _argv(_env: Mapping[str, str], pace: Pace) -> list[str]:
    """Return the command line from the interpreter on, with its options; `sys.argv` lacks them."""
    with suppress(OSError):
        return arguments([os.fsdecode(one) for one in _read("/proc/self/cmdline").split(b"\0")[:-1]])
    return arguments(getattr(sys, "argv", []))


def _python(_env: Mapping[str, str], _pace: Pace) -> dict[str, Any]:
    return {
        "version": sys.version.split()[0],
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "prefix": sys.prefix,
    }


def _packages(_env: Mapping[str, str], pace: Pace) -> list[str]:
    """Return `name==version` of what is installed for this interpreter, by the names of folders alone, sorted."""
    found: dict[str, str] = {}
    standard = os.path.dirname(getattr(os, "__file__", ""))  # a program in one file may have none
    for folder in list(sys.path)[:MOST_FOLDERS]:
        if not isinstance(folder, str) or folder == standard:
            continue
        for name in _names(folder or ".", pace):
            distribution = _DISTRIBUTION.match(name)
            if distribution:
                key = re.sub(r"[-_.]+", "-", distribution[1]).lower()
                version = f"=={distribution[2]}" if distribution[2] else ""
                found.setdefault(key, f"{distribution[1]}{version}")  # the first on the path is the one imported
    return [found[key] for key in sorted(found)][:MOST_PACKAGES]


def _names(folder: str, pace: Pace) -> list[str]:
    names = []
    with suppress(OSError), os.scandir(folder) as there:
        for number, one in enumerate(there):
            if number >= MOST_IN_FOLDER:
                break
            names.append(one.name)
            pace.step()
    return sorted(names)


def _modules(env: Mapping[str, str], _pace: Pace) -> list[str]:
    return [one[:300] for one in (env.get("LOADEDMODULES") or env.get("_LMFILES_") or "").split(":") if one][:500]


def _conda(env: Mapping[str, str], _pace: Pace) -> dict[str, str]:
    told = {"name": env.get("CONDA_DEFAULT_ENV"), "prefix": env.get("CONDA_PREFIX")}
    return {key: value[:1000] for key, value in told.items() if value}


def _venv(env: Mapping[str, str], _pace: Pace) -> str | None:
    inside = sys.prefix if sys.prefix != getattr(sys, "base_prefix", sys.prefix) else None
    return inside or (env.get("VIRTUAL_ENV") or "")[:1000] or None


def _container(env: Mapping[str, str], _pace: Pace) -> dict[str, str] | None:
    for kind in ("apptainer", "singularity"):
        image = env.get(f"{kind.upper()}_CONTAINER") or env.get(f"{kind.upper()}_NAME")
        if image:
            return {"kind": kind, "image": redact.address(image[:1000])}
    if env.get("SLURM_CONTAINER"):
        return {"kind": "slurm", "image": redact.address(env["SLURM_CONTAINER"][:1000])}
    return next(({"kind": kind} for path, kind in _CONTAINER_FILES if os.path.lexists(path)), None)


def _host(_env: Mapping[str, str], _pace: Pace) -> dict[str, Any]:
    system = os.uname()
    told: dict[str, Any] = {
        "name": system.nodename,
        "system": f"{system.sysname} {system.release}",
        "machine": system.machine,
    }
    if hasattr(os, "sched_getaffinity"):
        told["cpus"] = len(os.sched_getaffinity(0))  # those that this process may use
    return told


def _script(env: Mapping[str, str], pace: Pace) -> dict[str, Any] | None:
    """Return the batch script: Slurm keeps it on the job's first node while the job runs, and a shell there runs it."""
    job_id = whole_number(env.get("SLURM_JOB_ID"))
    if not job_id:
        return None
    for pid in _candidates(pace):
        path = _slurm_script(pid, job_id)
        if path and os.lstat(path).st_uid == os.geteuid():
            raw = read_plain(path, MOST_SCRIPT_BYTES, pace, follow=False)
            lines = redact.Lines()
            told = []
            for text in raw.decode("utf-8", "replace").splitlines(keepends=True):
                told.append(lines.told(text))
                pace.step()
            return {"text": "".join(told), "hidden_lines": lines.hidden}
    return None


def _candidates(pace: Pace) -> Any:
    """Yield this process and those it comes from, then others of this user: what srun starts comes from slurmstepd."""
    seen: set[int] = set()
    pid = os.getpid()
    while pid > 1 and len(seen) < MOST_ANCESTORS:
        seen.add(pid)
        yield pid
        pid = _parent(pid)
    me = os.geteuid()
    with suppress(OSError), os.scandir("/proc") as processes:
        for number, one in enumerate(processes):
            pace.step()
            if number >= MOST_PROCESSES:
                break
            with suppress(OSError):
                if one.name.isdigit() and int(one.name) not in seen and one.stat().st_uid == me:
                    yield int(one.name)


def _read(path: str) -> bytes:
    """Return the beginning of a file of /proc, which is always quick."""
    pieces: list[bytes] = []
    with open(path, "rb", buffering=0) as file:
        while len(pieces) < MOST_PIECES and (piece := file.read(PIECE_BYTES)):
            pieces.append(piece)
    return b"".join(pieces)


def _parent(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        # The program's name stands in parentheses and may hold anything; the parent is the 2nd field after it.
        return int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    return 0


def _slurm_script(pid: int, job_id: int) -> str | None:
    """Return the script that this process runs if it is that of the job."""
    with suppress(OSError):
        words = _read(f"/proc/{pid}/cmdline").split(b"\0")[:8]
        script = next((word for word in words if word.endswith(_SCRIPT.encode()) and word.startswith(b"/")), None)
        if script and b"SLURM_JOB_ID=%d" % job_id in _read(f"/proc/{pid}/environ").split(b"\0"):
            return os.fsdecode(script)
    return None


_FACTS: dict[str, _Finder] = {
    "argv": _argv,
    "cwd": lambda _env, _pace: working_folder(),
    "python": _python,
    "host": _host,
    "conda": _conda,
    "venv": _venv,
    "container": _container,
    "modules": _modules,
    "env": redact.variables,
    "script": _script,
    "packages": _packages,
}
