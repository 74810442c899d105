"""Puts tracker's hooks on a node and takes them away again, so that slurmd never meets half a file or none."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from tracker.errors import BadInput, Conflict, SetupProblem

DEFAULT_DIRECTORY = Path("/etc/slurm/tracker")
DEFAULT_SPOOL = "/var/spool/tracker"
HOOKS = {"Prolog": "prolog.sh", "Epilog": "epilog.sh", "TaskProlog": "task_prolog.sh"}
"""Each option of slurm.conf and the script that it names."""

COMMON = "common.sh"
CONF = "hooks.conf"
DO_NOTHING = "#!/bin/sh\n# tracker's hook was uninstalled; slurm.conf may still name this file.\nexit 0\n"
SLURM_CONF_PLACES = ("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf")


class HookLine(NamedTuple):
    """A line of slurm.conf that names a hook."""

    option: str
    value: str
    file: Path


def slurm_conf_lines(directory: Path) -> list[str]:
    """Return the lines that slurm.conf needs for the hooks in `directory`."""
    return [*(f"{option}={directory / script}" for option, script in HOOKS.items()), "PrologFlags=Alloc"]


def install(directory: Path, spool: str) -> None:
    """Put the hooks and their hooks.conf into `directory` and make the spool. Raises SetupProblem or BadInput."""
    check_directory(directory)
    check_spool(spool)
    require_root("Installing hooks")
    source = Path(__file__).parents[2] / "slurm_hooks"
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        check_owner(directory)
        write_atomically(directory / CONF, f"spool={spool}\n", mode=0o644)
        write_atomically(directory / COMMON, (source / COMMON).read_text(encoding="utf-8"), mode=0o644)
        for script in HOOKS.values():
            write_atomically(directory / script, (source / script).read_text(encoding="utf-8"), mode=0o755)
        if "%n" not in spool:  # else each node's Prolog makes its own
            make_spool(Path(spool))
    except OSError as problem:
        raise SetupProblem(f"The hooks cannot be installed: {problem.strerror}: {problem.filename}.") from problem


def make_spool(spool: Path) -> None:
    """Make a node's spool with the modes of docs/spool.md. What is there stays as it is."""
    for folder, mode in ((spool, 0o755), (spool / "jobs", 0o755), (spool / "events", 0o700)):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(mode)


def disarm(directory: Path) -> None:
    """Replace the hooks in `directory` by scripts that do nothing, so that slurm.conf may go on naming them."""
    require_root("Uninstalling hooks")
    require_installed(directory)
    try:
        for script in HOOKS.values():
            write_atomically(directory / script, DO_NOTHING, mode=0o755)
        for name in (COMMON, CONF):
            (directory / name).unlink(missing_ok=True)
    except OSError as problem:
        raise SetupProblem(f"The hooks cannot be replaced: {problem.strerror}: {problem.filename}.") from problem


def purge(directory: Path) -> None:
    """Remove the hooks. Raises Conflict while slurm.conf names them: slurmd drains nodes whose Prolog is missing."""
    require_root("Removing hooks")
    require_installed(directory)
    slurm_conf = find_slurm_conf()
    if slurm_conf is None:
        raise SetupProblem(
            "No slurm.conf was found to see whether it still names the hooks: set SLURM_CONF to its path."
        )
    scripts = {str(directory / script) for script in HOOKS.values()}
    left = [line for line in hook_lines(slurm_conf) if line.value in scripts]
    if left:
        lines = ", ".join(f"{line.option}={line.value} ({line.file})" for line in left)
        raise Conflict(f"slurm.conf still names the hooks: remove {lines}, run `scontrol reconfigure`, then try again.")
    try:
        for name in (*HOOKS.values(), COMMON, CONF):
            (directory / name).unlink(missing_ok=True)
        if not any(directory.iterdir()):
            directory.rmdir()
    except OSError as problem:
        raise SetupProblem(f"The hooks cannot be removed: {problem.strerror}: {problem.filename}.") from problem


def find_slurm_conf() -> Path | None:
    """Return the slurm.conf of this machine, or None."""
    places = [os.environ["SLURM_CONF"]] if os.environ.get("SLURM_CONF") else SLURM_CONF_PLACES
    return next((Path(place) for place in places if Path(place).is_file()), None)


def hook_lines(slurm_conf: Path) -> list[HookLine]:
    """Return the lines of slurm.conf, and of the files it includes, that name a Prolog, Epilog or TaskProlog."""
    known = {option.lower(): option for option in HOOKS}
    found = []
    for raw in slurm_conf.read_text(encoding="utf-8", errors="replace").splitlines():
        line = raw.partition("#")[0].strip()
        include = re.match(r"include\s+(\S+)$", line, re.IGNORECASE)
        if include:
            included = slurm_conf.parent / include.group(1)
            if included.is_file() and included != slurm_conf:
                found += hook_lines(included)
            continue
        option, _, value = line.partition("=")
        if option.strip().lower() in known:
            found.append(HookLine(known[option.strip().lower()], value.strip().strip('"'), slurm_conf))
    return found


def other_hooks(directory: Path) -> list[HookLine]:
    """Return the hooks in slurm.conf that are not those of `directory`: they must be chained with ours."""
    slurm_conf = find_slurm_conf()
    ours = {str(directory / script) for script in HOOKS.values()}
    return [line for line in hook_lines(slurm_conf) if line.value not in ours] if slurm_conf else []


def read_conf(directory: Path) -> dict[str, str]:
    """Read hooks.conf: `spool` is where the hooks write. Raises OSError."""
    lines = (directory / CONF).read_text(encoding="utf-8").splitlines()
    return {key: value for key, mark, value in (line.partition("=") for line in lines) if mark}


def require_root(doing: str) -> None:
    """Raise SetupProblem unless this is root."""
    if os.geteuid() != 0:
        raise SetupProblem(f"{doing} needs root: run the command with sudo.")


def require_installed(directory: Path) -> None:
    """Raise SetupProblem when there are no hooks in `directory`."""
    if not any((directory / script).exists() for script in HOOKS.values()):
        raise SetupProblem(f"There are no hooks in {directory}: name their folder with --directory.")


def check_directory(directory: Path) -> None:
    """Raise BadInput for a folder that slurm.conf could not name."""
    # slurm.conf knows no quoting, `#` begins a comment, and a Prolog may be a pattern.
    if not directory.is_absolute() or not re.fullmatch(r"[A-Za-z0-9_./@+-]+", str(directory)):
        raise BadInput(
            f"{str(directory)!r} cannot stand in slurm.conf: give an absolute path of letters, digits and _./@+-"
        )


def check_spool(spool: str) -> None:
    """Raise BadInput for a place that the hooks cannot use."""
    if not spool.startswith("/") or not spool.isprintable() or spool != spool.strip():
        raise BadInput(f"{spool!r} cannot be the spool: give an absolute path without control characters.")
    if "%" in spool.replace("%n", "", 1):
        raise BadInput(f"{spool!r} cannot be the spool: only one %n, which stands for the node's name, is known.")


def check_owner(path: Path) -> None:
    """Raise SetupProblem when somebody but root may change `path`, which slurmd runs as root."""
    status = path.stat()
    if status.st_uid != 0 or status.st_mode & 0o022:
        raise SetupProblem(f"{path} may be changed by others than root: chown root {path} && chmod go-w {path}")


def write_atomically(path: Path, text: str, *, mode: int) -> None:
    """Write a file under a temporary name and rename it, so that nobody ever reads half of it."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
