"""Which source is asked."""

from __future__ import annotations

import getpass
import shutil

from tracker.errors import SetupProblem
from tracker.settings import Settings
from tracker.slurm.commands import Commands
from tracker.slurm.source import Source


def chosen(settings: Settings) -> Source:
    """The source of the setting `slurm_source`. Raises SetupProblem when it cannot be used here."""
    wanted = settings.slurm_source
    if wanted == "auto":
        wanted = "rest" if settings.slurmrestd and not shutil.which("squeue") else "commands"
    if wanted == "commands":
        return Commands(timeout_s=settings.slurm_timeout_s)
    raise SetupProblem(f"There is no source {wanted!r} yet: set `slurm_source` to `commands`.")


def whose(settings: Settings) -> str:
    """The user whose token slurmrestd is given."""
    return settings.slurmrestd_user or getpass.getuser()
