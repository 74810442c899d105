"""slurmrestd as a source: for a watcher on a machine without Slurm's commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from tracker.errors import SlurmUnavailable
from tracker.slurm.records import ClusterFacts, Limits, Node, QueuedJob, Record, Usage
from tracker.slurm.rest_jobs import parse_jobs, parse_nodes
from tracker.slurm.rest_limits import parse_accounts, parse_partitions, parse_qos
from tracker.slurm.rest_records import parse_records, parse_usage
from tracker.slurm.slurmrestd import Api, Get, Json
from tracker.slurm.states import ENDED_STATES

Found = TypeVar("Found")


class Rest:
    """Asks slurmrestd by `get`. Prolog, Epilog, the controller's clock and a lack of accounting it does not tell."""

    name = "rest"

    def __init__(self, get: Get) -> None:
        self._api = Api(get)

    def facts(self) -> ClusterFacts:
        """What the configuration says, as far as slurmrestd tells it."""
        meta = _slurm_of(self._api.ask("slurm", "ping"))
        name = str(meta.get("cluster") or "") or self._only_cluster()
        version = meta.get("version") or {}
        numbers = [str(version.get(part, "")) for part in ("major", "minor", "micro")]
        return ClusterFacts(
            name=name,
            slurm_version=str(meta.get("release") or "").partition("-")[0] or ".".join(numbers),
            has_accounting=None,
            has_prolog=None,
            has_epilog=None,
            told_at=None,
        )

    def queue(self, *, user: str | None = None) -> list[QueuedJob]:
        """The controller's jobs, ended ones until it forgets them."""
        jobs = _understood(parse_jobs, self._api.ask("slurm", "jobs"), "jobs")
        return [job for job in jobs if user is None or job.user == user]

    def nodes(self) -> list[Node]:
        """The controller's nodes."""
        return _understood(parse_nodes, self._api.ask("slurm", "nodes"), "nodes")

    def records(self, job_ids: Iterable[int]) -> list[Record]:
        """Every record of these jobs."""
        wanted = [str(one) for one in sorted(job_ids)]
        return self._records({"step": wanted}) if wanted else []

    def ended(self, since: datetime, until: datetime, *, user: str | None = None) -> list[Record]:
        """Records of jobs that ended in that time."""
        window = {"start_time": f"uts{since.timestamp():.0f}", "end_time": f"uts{until.timestamp():.0f}"}
        found = self._records({**window, "state": ENDED_STATES})
        return [record for record in found if user is None or record.user == user]

    def usage(self, job_ids: Iterable[int]) -> list[Usage]:
        """What every attempt of these jobs has used."""
        wanted = [str(one) for one in sorted(job_ids)]
        return _understood(parse_usage, self._jobs({"step": wanted}), "jobs") if wanted else []

    def limits(self, cluster: str) -> Limits:
        """The limits of the cluster's accounting and partitions."""
        all_qos = self._api.ask("slurmdb", "qos")
        qos = dict(_understood(parse_qos, all_qos, "QOS" if "QOS" in all_qos else "qos"))  # in capitals by 22.05
        told = _understood(parse_accounts, self._api.ask("slurmdb", "associations"), "associations")
        partitions = dict(_understood(parse_partitions, self._api.ask("slurm", "partitions"), "partitions"))
        mine = [one for one in told if one.cluster == cluster]
        accounts = {(one.account, one.user, one.partition): one.limits for one in mine}
        parents = {one.account: one.parent for one in mine if not one.user and one.parent}
        return Limits(qos, accounts, parents, partitions)

    def _records(self, which: Mapping[str, str | Sequence[str]]) -> list[Record]:
        return _understood(parse_records, self._jobs(which), "jobs")

    def _jobs(self, which: Mapping[str, str | Sequence[str]]) -> Json:
        return self._api.ask("slurmdb", "jobs", which, show_duplicates="true")  # 22.05 shows them unasked

    def _only_cluster(self) -> str:
        """The name of the only cluster in accounting: slurmrestd of old versions does not say which one it is of."""
        names = _understood(_names, self._api.ask("slurmdb", "clusters"), "clusters")
        if len(names) != 1:
            raise SlurmUnavailable("slurmrestd does not tell which cluster it is of.")
        return names[0]


def _slurm_of(answer: Json) -> dict[str, Any]:
    meta = answer.get("meta") or {}
    found = meta.get("slurm") or meta.get("Slurm")
    return found if isinstance(found, dict) else {}


def _names(found: list[dict[str, Any]]) -> list[str]:
    return [str(one["name"]) for one in found]


def _understood(parse: Callable[[list[dict[str, Any]]], list[Found]], answer: Json, key: str) -> list[Found]:
    """What the list of this name tells. A part that cannot be read fails it all: a job left out would look gone."""
    found = answer.get(key)
    if not isinstance(found, list):
        raise SlurmUnavailable(f"slurmrestd's answer has no list `{key}`.")
    try:
        return parse(found)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as problem:
        said = f"{type(problem).__name__}: {problem}"[:200]
        raise SlurmUnavailable(f"slurmrestd's list `{key}` cannot be understood ({said}).") from problem
