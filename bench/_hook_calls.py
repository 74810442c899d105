"""What slurmd gives a hook, and nothing else."""

from __future__ import annotations

HOOKS = ("Prolog", "TaskProlog", "Epilog")
"""In the order in which Slurm calls them."""

# The user is root, as benchmarks start all programs alike.
_ENVIRONMENT = {
    "SLURM_CLUSTER_NAME": "bench",
    "SLURM_JOB_RESTART_COUNT": "0",
    "SLURM_JOB_USER": "root",
    "SLURM_JOB_UID": "0",
    "SLURM_JOB_GID": "0",
    "SLURM_JOB_ACCOUNT": "physics",
    "SLURM_JOB_PARTITION": "gpu",
    "SLURM_NODELIST": "n[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_CPUS_PER_NODE": "1(x2)",
    "SLURM_JOB_NTASKS": "2",
    "SLURM_JOB_GPUS": "0,1",
    "SLURM_JOB_WORK_DIR": "/home/alice/experiments/mnist",
    "SLURM_JOB_STDOUT": "/home/alice/experiments/mnist/slurm-4711.out",
    "SLURM_CONF": "/etc/slurm/slurm.conf",
}


def environment(job_id: int, node: str = "n1") -> dict[str, str]:
    """The environment of this job's hooks on a node."""
    return {**_ENVIRONMENT, "SLURM_JOB_ID": str(job_id), "SLURM_JOBID": str(job_id), "SLURMD_NODENAME": node}
