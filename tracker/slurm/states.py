"""Slurm's words for states, brought down to the base states that a run shows."""

from __future__ import annotations

from tracker.states import LIVE_STATES, SLURM_FINAL_STATES

PENDING, RUNNING, SUSPENDED = "PENDING", "RUNNING", "SUSPENDED"

ENDED_STATES = tuple(state for state in SLURM_FINAL_STATES if state != "REVOKED")
"""Those by which accounting is asked for jobs that ended."""

# slurm.schedmd.com/job_state_codes.html: flags that hide the base state in squeue's one word.
_BASE = {
    "CONFIGURING": RUNNING,
    "RESIZING": RUNNING,
    "SIGNALING": RUNNING,
    "STAGE_OUT": RUNNING,
    "STOPPED": SUSPENDED,
    "REQUEUED": PENDING,
    "REQUEUE_FED": PENDING,
    "REQUEUE_HOLD": PENDING,
    "SPECIAL_EXIT": PENDING,
    "RESV_DEL_HOLD": PENDING,
    "POWER_UP_NODE": PENDING,
}


def base_state(word: str) -> str | None:
    """The base state behind Slurm's word; None while it hides it (COMPLETING) and for words not known."""
    first = word.split()[0].rstrip("+") if word.strip() else ""
    if first in LIVE_STATES or first in SLURM_FINAL_STATES:
        return first
    return _BASE.get(first)
