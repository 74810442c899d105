"""slurmrestd as a source: for a watcher on a machine without Slurm's commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tracker.errors import SlurmUnavailable
from tracker.slurm.records import ClusterFacts, Node, QueuedJob, Record
from tracker.slurm.rest_door import Api, Get, Json
from tracker.slurm.rest_jobs import parse_jobs, parse_nodes
from tracker.slurm.rest_records import parse_records

ENDED = (
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL",
)  # fmt: skip


class Rest:
    """Asks slurmrestd by `get`. It does not tell of Prolog, Epilog, MinJobAge and the controller's clock."""

    name = "rest"

    def __init__(self, get: Get) -> None:
        self._api = Api(get)

    def facts(self) -> ClusterFacts:
        """What the configuration says, as far as slurmrestd tells it."""
        meta = _slurm_of(self._api.ask("slurm", "ping"))
        try:
            clusters = self._api.ask("slurmdb", "clusters").get("clusters") or []
        except SlurmUnavailable:
            clusters = []
        names = [str(one["name"]) for one in clusters if one.get("name")]
        name = str(meta.get("cluster") or "") or (names[0] if len(names) == 1 else "")
        if not name:
            raise SlurmUnavailable("slurmrestd does not tell which cluster it is of.")
        version = meta.get("version") or {}
        numbers = [str(version.get(part, "")) for part in ("major", "minor", "micro")]
        return ClusterFacts(
            name=name,
            slurm_version=str(meta.get("release") or "").partition("-")[0] or ".".join(numbers),
            has_accounting=bool(names),
            has_prolog=None,
            has_epilog=None,
            min_job_age_s=None,
            told_at=None,
        )

    def queue(self, *, user: str | None = None) -> list[QueuedJob]:
        """The controller's jobs, ended ones until it forgets them."""
        jobs = parse_jobs(_list(self._api.ask("slurm", "jobs"), "jobs"))
        return [job for job in jobs if user is None or job.user == user]

    def nodes(self) -> list[Node]:
        """The controller's nodes."""
        return parse_nodes(_list(self._api.ask("slurm", "nodes"), "nodes"))

    def records(self, job_ids: Iterable[int]) -> list[Record]:
        """Every record of these jobs."""
        wanted = [str(one) for one in sorted(job_ids)]
        return self._records({"step": wanted}) if wanted else []

    def ended(self, since: datetime, until: datetime, *, user: str | None = None) -> list[Record]:
        """Records of jobs that ended in that time."""
        window = {"start_time": f"uts{since.timestamp():.0f}", "end_time": f"uts{until.timestamp():.0f}"}
        found = self._records({**window, "state": ENDED})
        return [record for record in found if user is None or record.user == user]

    def _records(self, which: Mapping[str, str | Sequence[str]]) -> list[Record]:
        answer = self._api.ask("slurmdb", "jobs", which, show_duplicates="true")  # 22.05 shows them unasked
        return parse_records(_list(answer, "jobs"))


def _slurm_of(answer: Json) -> dict[str, Any]:
    meta = answer.get("meta") or {}
    found = meta.get("slurm") or meta.get("Slurm")
    return found if isinstance(found, dict) else {}


def _list(answer: Json, key: str) -> list[dict[str, Any]]:
    found = answer.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
