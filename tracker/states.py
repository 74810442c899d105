"""The states of a run: Slurm's words, and LOST."""

LIVE_STATES = ("PENDING", "RUNNING", "SUSPENDED")
SLURM_FINAL_STATES = (
    "COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "DEADLINE",
    "REVOKED",
)  # fmt: skip
LOST = "LOST"
"""Silent outside Slurm, or forgotten by Slurm itself."""
FINAL_STATES = (*SLURM_FINAL_STATES, LOST)
STATES = LIVE_STATES + FINAL_STATES
