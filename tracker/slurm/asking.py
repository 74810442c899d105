"""How Slurm's commands are run, and how rows are asked for so that no user can forge one.

Names and comments of jobs pass through squeue and sacct with newlines and separators in them. So each call takes a new
random separator, and an answer is cut by that alone: a row is as many fields as were asked for, not a line.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tracker.errors import SlurmUnavailable


def run_command(arguments: Sequence[str], *, timeout_s: float) -> str:
    """What a Slurm command prints, times in seconds since 1970 and lists of array tasks uncut.

    Raises SlurmUnavailable when it fails or takes too long.
    """
    environ = {**os.environ, "SLURM_TIME_FORMAT": "%s", "TZ": "UTC", "SLURM_BITSTR_LEN": "0"}
    try:
        answer = subprocess.run(
            arguments, capture_output=True, timeout=timeout_s, env=environ, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        raise SlurmUnavailable(f"There is no command `{arguments[0]}` here: is Slurm's client installed?") from None
    except subprocess.TimeoutExpired:
        raise SlurmUnavailable(f"`{arguments[0]}` gave no answer within {timeout_s:g} s.") from None
    if answer.returncode != 0:
        said = answer.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SlurmUnavailable(f"`{arguments[0]}` failed: {said[-1] if said else f'exit code {answer.returncode}'}.")
    return answer.stdout.decode("utf-8", "replace")


def new_separator() -> str:
    """A separator that no submitter could know. It begins with a letter: squeue takes digits for a field's width."""
    return f"x{secrets.token_hex(8)}"


def rows(answer: str, separator: str, fields: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of an answer in which each field is followed by the separator; a rest is dropped."""
    cells = answer.split(separator)
    for at in range(0, len(cells) - len(fields), len(fields)):
        cells[at] = cells[at].lstrip("\n")
        yield dict(zip(fields, cells[at : at + len(fields)], strict=True))


def submit(script: str, *, directory: Path, timeout_s: float) -> int:
    """Submit a batch script from that folder; the job's id. Raises SlurmUnavailable with sbatch's own words."""
    arguments = ["sbatch", "--parsable", f"--chdir={directory}"]
    try:
        answer = subprocess.run(
            arguments, input=script, capture_output=True, timeout=timeout_s, text=True, check=False
        )  # fmt: skip
    except FileNotFoundError:
        raise SlurmUnavailable("There is no command `sbatch` here: submit on a login node.") from None
    except subprocess.TimeoutExpired:
        raise SlurmUnavailable(f"`sbatch` gave no answer within {timeout_s:g} s.") from None
    job_id = answer.stdout.strip().split(";")[0]
    if answer.returncode != 0 or not job_id.isdecimal():
        said = [line for line in answer.stderr.strip().splitlines() if line]
        raise SlurmUnavailable(said[-1] if said else f"sbatch failed with exit code {answer.returncode}.")
    return int(job_id)
