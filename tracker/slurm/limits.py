"""Limits that hold jobs back: what sacctmgr and scontrol tell of them, and the one that a reason names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tracker.quantities import duration
from tracker.slurm.reasons import limit_of
from tracker.slurm.records import Limits, QueuedJob
from tracker.slurm.values import given, limit_s

QOS_FIELDS = (
    "Name", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins", "GrpJobs", "GrpSubmit", "GrpWall", "MaxTRES", "MaxTRESPerNode",
    "MaxTRESMins", "MaxWall", "MaxTRESPU", "MaxJobsPU", "MaxSubmitPU", "MaxTRESPA", "MaxJobsPA", "MaxSubmitPA",
    "MinTRES",
)  # fmt: skip
ACCOUNT_FIELDS = (
    "Account", "User", "Partition", "ParentName", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins", "GrpJobs", "GrpSubmit",
    "GrpWall", "MaxTRES", "MaxTRESPerNode", "MaxTRESMins", "MaxJobs", "MaxSubmit", "MaxWall",
)  # fmt: skip
_OF_PARTITION = {
    "PartitionTimeLimit": "MaxTime", "PartitionNodeLimit": "MaxNodes", "QOSNotAllowed": "AllowQos",
    "AccountNotAllowed": "AllowAccounts",
}  # fmt: skip
_ANY_TRES = "any"
_MOST_CHARS = 200


def parse_limits(qos: str, accounts: str, partitions: str) -> Limits:
    """Understand what `sacctmgr --parsable2 show qos` and `show assoc`, and `scontrol --oneliner show partition` say.

    Administrators make these names; a row that has more or fewer fields than were asked for is left out.
    """
    told = list(_rows(accounts, ACCOUNT_FIELDS))
    return Limits(
        qos={row["Name"]: _set(row) for row in _rows(qos, QOS_FIELDS)},
        accounts={(row["Account"], row["User"], row["Partition"]): _set(row) for row in told},
        parents={row["Account"]: row["ParentName"] for row in told if not row["User"] and row["ParentName"]},
        partitions={row["PartitionName"]: _set(row) for row in _pairs(partitions) if "PartitionName" in row},
    )


def _rows(answer: str, fields: tuple[str, ...]) -> Iterator[dict[str, str]]:
    for line in answer.splitlines():
        cells = line.split("|")
        if len(cells) == len(fields):
            yield dict(zip(fields, cells, strict=True))


def _pairs(answer: str) -> Iterator[dict[str, str]]:
    for line in answer.splitlines():
        yield {key: value for key, _, value in (word.partition("=") for word in line.split())}


def _set(row: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:_MOST_CHARS] for name, value in row.items() if given(value)}


@dataclass(frozen=True)
class _Place:
    """Where a limit may stand, in words, and all that is set there."""

    words: str
    limits: Mapping[str, str]


def limit_in_words(job: QueuedJob, limits: Limits) -> str | None:
    """The limit that the job's reason names, and its value: `MaxJobsPU=4 of the QOS normal`; None if it names none."""
    code = (job.reason or "").partition(",")[0].strip("() ")
    if code in _OF_PARTITION:
        return next(
            filter(None, (_named(one, [_OF_PARTITION[code]], _ANY_TRES) for one in _partitions(job, limits))), None
        )
    wanted = limit_of(code)
    if wanted is None:
        return None
    places = _accounts(job, limits) if wanted.holder == "Assoc" else _all_qos(job, limits)
    return next(filter(None, (_named(one, wanted.names, wanted.resource) for one in places)), None)


def names_limit(reason: str | None) -> bool:
    """Whether the reason names a limit whose value can be looked up."""
    code = (reason or "").partition(",")[0].strip("() ")
    return code in _OF_PARTITION or limit_of(code) is not None


def _named(place: _Place, names: Iterable[str], resource: str | None) -> str | None:
    for name in names:
        value = place.limits.get(name)
        if value is not None and resource not in (None, _ANY_TRES):
            value = ",".join(one for one in value.split(",") if one.partition("=")[0].startswith(str(resource))) or None
        if value is not None:
            seconds = limit_s(value) if "Wall" in name or "Time" in name else None
            return f"{name}={value}{f' ({duration(seconds)})' if seconds else ''} of {place.words}"
    return None


def _partitions(job: QueuedJob, limits: Limits) -> Iterator[_Place]:
    for name in (job.partition or "").split(","):
        yield _Place(f"the partition {name}", limits.partitions.get(name, {}))


def _all_qos(job: QueuedJob, limits: Limits) -> Iterator[_Place]:
    """The QOS of the partition stands before that of the job (slurm.schedmd.com/resource_limits.html)."""
    of_partitions = (limits.partitions.get(one, {}).get("QoS") for one in (job.partition or "").split(","))
    for name in filter(None, (*of_partitions, job.qos)):
        yield _Place(f"the QOS {name}", limits.qos.get(name, {}))


def _accounts(job: QueuedJob, limits: Limits) -> Iterator[_Place]:
    """What stands nearest to the user comes first: of user and partition, the user's, the account's, its parents'."""
    account, user = job.account or "", job.user or ""
    for partition in (*(job.partition or "").split(","), ""):
        yield _Place(f"{user} in the account {account}", limits.accounts.get((account, user, partition), {}))
    seen: set[str] = set()
    while account and account not in seen:
        seen.add(account)
        yield _Place(f"the account {account}", limits.accounts.get((account, "", ""), {}))
        account = limits.parents.get(account, "")
