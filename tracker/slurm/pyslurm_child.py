"""The controller's jobs as pyslurm tells them, printed as JSON. The only file that imports it.

It is a process of its own: where libslurm finds no slurm.conf, or one that is not its release's, it ends the process
or waits for a minute.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pyslurm

JOB = (
    "id", "array_id", "array_task_id", "array_tasks_waiting", "array_tasks_parallel", "heterogeneous_id", "name",
    "user_name", "user_id", "account", "partition", "qos", "state", "state_reason", "submit_time", "eligible_time",
    "start_time", "end_time", "time_limit", "run_time", "allocated_nodes", "scheduled_nodes", "requeue_count",
    "batch_host", "priority", "dependencies", "reservation", "constraints", "licenses", "comment", "working_directory",
    "command", "standard_output", "standard_error", "exit_code_signal", "num_nodes", "cpus", "memory_per_cpu",
    "memory_per_node", "gres_per_node",
)  # fmt: skip


def jobs() -> list[dict[str, Any]]:
    """Every job, with what it holds on each node."""
    return [
        {**{name: getattr(job, name) for name in JOB}, "held": job.get_resource_layout_per_node()}
        for job in pyslurm.Jobs.load().values()
    ]


if __name__ == "__main__":
    try:
        print(json.dumps(jobs()))
    except pyslurm.PyslurmError as problem:
        sys.exit(str(problem))
