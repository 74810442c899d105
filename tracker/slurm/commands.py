"""Slurm's commands as a source: formatted text, the same on all versions, with rows that no user can forge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial

from tracker.slurm.accounting import FIELDS as ACCOUNTING_FIELDS
from tracker.slurm.accounting import parse_accounting
from tracker.slurm.asking import new_separator, run_command
from tracker.slurm.configuration import parse_configuration
from tracker.slurm.limits import ACCOUNT_FIELDS, QOS_FIELDS, parse_limits
from tracker.slurm.nodes import FIELDS as NODE_FIELDS
from tracker.slurm.nodes import parse_nodes
from tracker.slurm.queue import FIELDS as QUEUE_FIELDS
from tracker.slurm.queue import parse_queue
from tracker.slurm.records import ClusterFacts, Limits, Node, QueuedJob, Record, Usage
from tracker.slurm.states import ENDED_STATES
from tracker.slurm.usage import FIELDS as USAGE_FIELDS
from tracker.slurm.usage import parse_usage

Ask = Callable[[Sequence[str]], str]
"""Gives what a command prints."""


class Commands:
    """Asks squeue, sacct, sinfo, scontrol and sacctmgr."""

    name = "commands"

    def __init__(self, *, timeout_s: float, ask: Ask | None = None) -> None:
        self._ask: Ask = ask or partial(run_command, timeout_s=timeout_s)

    def facts(self) -> ClusterFacts:
        """What the configuration says."""
        return parse_configuration(self._ask(["scontrol", "show", "config"]))

    def queue(self, *, user: str | None = None) -> list[QueuedJob]:
        """The controller's jobs, ended ones until it forgets them."""
        separator = new_separator()
        whose = ["--user", user] if user else ["--all"]
        wanted = _suffixed(QUEUE_FIELDS, separator)
        return parse_queue(self._ask(["squeue", "--noheader", "--states=all", *whose, "-O", wanted]), separator)

    def nodes(self) -> list[Node]:
        """The controller's nodes."""
        separator = new_separator()
        return parse_nodes(self._ask(["sinfo", "-h", "-N", "-O", _suffixed(NODE_FIELDS, separator)]), separator)

    def records(self, job_ids: Iterable[int]) -> list[Record]:
        """Every record of these jobs."""
        wanted = ",".join(str(one) for one in sorted(job_ids))
        return self._accounting(["--jobs", wanted]) if wanted else []

    def ended(self, since: datetime, until: datetime, *, user: str | None = None) -> list[Record]:
        """Records of jobs that ended in that time."""
        window = [
            f"--starttime={_utc(since)}",
            f"--endtime={_utc(until)}",
            f"--state={','.join((*ENDED_STATES, 'REQUEUED'))}",
        ]
        return self._accounting([*window, *(["--user", user] if user else ["--allusers"])])

    def usage(self, job_ids: Iterable[int]) -> list[Usage]:
        """What every attempt of these jobs has used."""
        wanted = ",".join(str(one) for one in sorted(job_ids))
        return parse_usage(*self._sacct(["--jobs", wanted], USAGE_FIELDS)) if wanted else []

    def limits(self, cluster: str) -> Limits:
        """The limits of the cluster's accounting and partitions."""
        shape = ["sacctmgr", "--noheader", "--parsable2", "show"]
        qos = self._ask([*shape, "qos", f"format={','.join(QOS_FIELDS)}"])
        accounts = self._ask([*shape, "assoc", f"cluster={cluster}", f"format={','.join(ACCOUNT_FIELDS)}"])
        return parse_limits(qos, accounts, self._ask(["scontrol", "--oneliner", "show", "partition"]))

    def _accounting(self, which: list[str]) -> list[Record]:
        return parse_accounting(*self._sacct([*which, "--allocations"], ACCOUNTING_FIELDS))

    def _sacct(self, which: list[str], fields: Sequence[str]) -> tuple[str, str]:
        """What sacct prints, and the separator in it."""
        separator = new_separator()
        shape = ["--duplicates", "--noheader", "--noconvert", "--parsable", f"--delimiter={separator}"]
        return self._ask(["sacct", *which, *shape, f"--format={','.join(fields)}"]), separator


def _suffixed(fields: Sequence[str], separator: str) -> str:
    return ",".join(f"{field}:{separator}" for field in fields)


def _utc(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S")  # commands run with TZ=UTC
