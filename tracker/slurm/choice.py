"""Which source is asked."""

from __future__ import annotations

import getpass
import shutil

from tracker.errors import SetupProblem
from tracker.settings import Settings
from tracker.slurm.commands import Commands
from tracker.slurm.pyslurm_source import Pyslurm, installed
from tracker.slurm.rest import Rest
from tracker.slurm.slurmrestd import Slurmrestd
from tracker.slurm.source import Source


def chosen(settings: Settings) -> Source:
    """The source of the setting `slurm_source`. Raises SetupProblem when it cannot be used here."""
    wanted = _best(settings) if settings.slurm_source == "auto" else settings.slurm_source
    if wanted == "rest":
        return _rest(settings)
    if wanted == "commands":
        return Commands(timeout_s=settings.slurm_timeout_s)
    if not installed():
        raise SetupProblem("pyslurm is not installed beside tracker: install that of your Slurm (docs/slurm.md).")
    return Pyslurm(timeout_s=settings.slurm_timeout_s)


def _best(settings: Settings) -> str:
    if not shutil.which("squeue"):
        return "rest" if settings.slurmrestd else "commands"
    return "pyslurm" if installed() else "commands"


def _rest(settings: Settings) -> Source:
    if not settings.slurmrestd.startswith(("unix:/", "http://", "https://")):
        raise SetupProblem("Set `slurmrestd` to where it listens, `unix:/path` or `http://host:port`.")
    user = settings.slurmrestd_user or getpass.getuser()
    slurmrestd = Slurmrestd(
        settings.slurmrestd, token_file=settings.slurmrestd_token_file, user=user, timeout_s=settings.slurm_timeout_s
    )
    return Rest(slurmrestd.get)
