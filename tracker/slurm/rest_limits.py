"""Limits in slurmrestd's words, brought to the names that sacctmgr and scontrol have for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tracker.slurm import json_values as value

_QOS = {
    "GrpTRES": "max.tres.total", "GrpTRESMins": "max.tres.minutes.total", "GrpJobs": "max.active_jobs.count",
    "GrpSubmit": "max.jobs.count", "MaxTRES": "max.tres.per.job", "MaxTRESPerNode": "max.tres.per.node",
    "MaxTRESMins": "max.tres.minutes.per.job", "MaxWall": "max.wall_clock.per.job", "GrpWall": "max.wall_clock.per.qos",
    "MaxTRESPU": "max.tres.per.user", "MaxTRESPA": "max.tres.per.account",
    "MaxJobsPU": "max.jobs.active_jobs.per.user", "MaxJobsPA": "max.jobs.active_jobs.per.account",
    "MaxSubmitPU": "max.jobs.per.user", "MaxSubmitPA": "max.jobs.per.account", "MinTRES": "min.tres.per.job",
}  # fmt: skip
_ACCOUNT = {
    "GrpTRES": "tres.total", "GrpTRESMins": "tres.minutes.total", "GrpTRESRunMins": "tres.group.active",
    "GrpJobs": "jobs.per.count", "GrpSubmit": "jobs.per.submitted", "GrpWall": "per.account.wall_clock",
    "MaxTRES": "tres.per.job", "MaxTRESPerNode": "tres.per.node", "MaxTRESMins": "tres.minutes.per.job",
    "MaxJobs": "jobs.active", "MaxSubmit": "jobs.total", "MaxWall": "jobs.per.wall_clock",
}  # fmt: skip


class Account(NamedTuple):
    """An association. `user` and `partition` are empty for those of all; `parent` is the account above."""

    cluster: str
    account: str
    user: str
    partition: str
    parent: str
    limits: dict[str, str]


def parse_qos(found: list[dict[str, Any]]) -> list[tuple[str, dict[str, str]]]:
    """Understand the list `qos`: names and limits."""
    return [(str(one["name"]), _limits(one.get("limits") or {}, _QOS)) for one in found]


def parse_accounts(found: list[dict[str, Any]]) -> list[Account]:
    """Understand the list `associations`."""
    return [
        Account(
            str(one.get("cluster") or ""), str(one.get("account") or ""), str(one.get("user") or ""),
            str(one.get("partition") or ""), str(one.get("parent_account") or ""),
            _limits(one.get("max") or {}, _ACCOUNT),
        )
        for one in found
    ]  # fmt: skip


def parse_partitions(found: list[dict[str, Any]]) -> list[tuple[str, dict[str, str]]]:
    """Understand the list `partitions`: names and limits."""
    return [(str(one["name"]), dict(_of_partition(one))) for one in found]


def _of_partition(one: dict[str, Any]) -> Iterable[tuple[str, str]]:
    most = one.get("maximums") or {}
    minutes = value.number(most.get("time", one.get("max_time_limit")))
    if minutes is not None and value.limit_s(minutes):
        yield "MaxTime", _as_time(minutes)
    nodes = value.number(most.get("nodes", one.get("max_nodes_per_job")))
    if nodes is not None and 0 < nodes < 2**31:  # 22.05 says -1 for all
        yield "MaxNodes", str(nodes)
    for name, part, old in (("AllowQos", "qos", "allowed_qos"), ("AllowAccounts", "accounts", "allowed_accounts")):
        allowed = value.name((one.get(part) or {}).get("allowed") if isinstance(one.get(part), dict) else one.get(old))
        yield name, allowed or "ALL"
    assigned = one.get("qos")
    qos = value.name(assigned.get("assigned") if isinstance(assigned, dict) else assigned)
    if qos:
        yield "QoS", qos


def _limits(found: dict[str, Any], names: dict[str, str]) -> dict[str, str]:
    told = {name: _told(name, _at(found, path)) for name, path in names.items()}
    return {name: said for name, said in told.items() if said}


def _at(found: Any, path: str) -> Any:
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _told(name: str, said: Any) -> str:
    if isinstance(said, list):
        return ",".join(_resource(one) for one in said if value.number(one.get("count")) is not None)
    number = value.number(said)
    if number is None:
        return ""
    return _as_time(number) if "Wall" in name else str(number)


def _resource(one: dict[str, Any]) -> str:
    """A resource as sacctmgr writes it: memory, which is told in MiB, in the greatest unit without a rest."""
    kind = "/".join(str(part) for part in (one.get("type"), one.get("name")) if part)
    count = value.number(one.get("count")) or 0
    if kind != "mem":
        return f"{kind}={count}"
    units = ("M", "G", "T")
    power = next((at for at in (2, 1) if count and count % 1024**at == 0), 0)
    return f"mem={count // 1024**power}{units[power]}"


def _as_time(minutes: int) -> str:
    days, rest = divmod(minutes, 1440)
    clock = f"{rest // 60:02}:{rest % 60:02}:00"
    return f"{days}-{clock}" if days else clock
