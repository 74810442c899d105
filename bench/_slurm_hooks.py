"""What one call of each hook costs, beside a shell that does nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import _processes
from bench._asked import Asked
from bench._figures import Row, Table, median, p99, progress, ratio
from bench._hook_calls import HOOKS, environment
from lab.place import LabError
from tracker.cli import hook_files

CALLS = 200
SHELL = "/bin/sh -c :"
BAR_MS = 5.0


def measure(asked: Asked) -> list[Table]:
    """Call the hooks of one job after another, in Slurm's order, each time beside the empty shell."""
    calls = 20 if asked.quick else CALLS
    progress(f"  {calls} jobs' hooks")
    costs: dict[str, list[_processes.Cost]] = {SHELL: [], **{option: [] for option in HOOKS}}
    with tempfile.TemporaryDirectory(prefix="tracker-hooks-", dir="/var/tmp") as name:  # on a disk
        hooks, spool = Path(name) / "hooks", Path(name) / "spool"
        hook_files.install(hooks, str(spool))
        for job_id in range(1, calls + 1):
            env = environment(job_id)
            costs[SHELL].append(_processes.run(["/bin/sh", "-c", ":"], env))
            for option in HOOKS:
                costs[option].append(_processes.run([str(hooks / hook_files.HOOKS[option])], env))
        left = len(list((spool / "events").glob("*.event")))
    if left != 2 * calls:
        raise LabError(f"{calls} jobs left {left} events, not {2 * calls}: the hooks did not do their work")
    return [Table(f"One call, {calls} jobs", [_row(name, costs[name], costs[SHELL]) for name in costs])]


def _row(name: str, costs: list[_processes.Cost], shell: list[_processes.Cost]) -> Row:
    wall_ms = [cost.wall_ms for cost in costs]
    return {
        "": f"`{SHELL}`" if name == SHELL else name,
        "CPU median ms": median([cost.cpu_ms for cost in costs]),
        "bar ms": None if name == SHELL else BAR_MS,
        "wall median ms": median(wall_ms),
        "wall p99 ms": p99(wall_ms),
        "wall ÷ shell": ratio(wall_ms, [cost.wall_ms for cost in shell]),
    }
