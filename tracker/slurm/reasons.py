"""Why a job waits, in plain words: every reason that Slurm 22.05, 24.11 and 26.05 know.

What the words mean is told by slurm.schedmd.com/job_reason_codes.html and, of the limits, resource_limits.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = {
    "AccountNotAllowed": "its account may not use its partition or QOS",
    "AccountingPolicy": "a limit of Slurm's accounting holds it back",
    "AssociationJobLimit": "its account already has as many jobs as it may",
    "AssociationResourceLimit": "its account already holds as much as it may",
    "AssociationTimeLimit": "its account has used up its time",
    "BadConstraints": "no node has what it asks for",
    "BeginTime": "it waits for its begin time (after a requeue Slurm waits about two minutes)",
    "BlockFreeAction": "a block of the machine cannot be used",
    "BlockMaxError": "a block of the machine cannot be used",
    "BurstBufferOperation": "the burst buffer could not do what it asks for",
    "BurstBufferResources": "it waits for room in the burst buffer",
    "BurstBufferStageIn": "its files are copied into the burst buffer",
    "Cleaning": "its last attempt is still being cleaned up",
    "Constraints": "no node that is free now has the features it asks for",
    "DeadLine": "it cannot end before its deadline",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "it waits for a job that did not end as required, and will never start",
    "FedJobLock": "the clusters of the federation agree on where it runs",
    "FrontEndDown": "no front end is up to start it",
    "InactiveLimit": "it did nothing for as long as Slurm allows",
    "InvalidAccount": "its account does not exist (any more)",
    "InvalidQOS": "its QOS does not exist (any more)",
    "JobArrayTaskLimit": "as many tasks of its array run as it allows at once",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "its user holds it, and may release it: scontrol release",
    "JobHoldMaxRequeue": "it was requeued as often as Slurm allows, and is held",
    "JobLaunchFailure": "it could not be started by Slurm",
    "Licenses": "it waits for a licence",
    "MaxMemPerLimit": "it asks for more memory per processor or node than a job may",
    "MaxPoweredUpNodes": "as many nodes are powered up as may be",
    "MpiPortsBusy": "the ports that its MPI needs are taken",
    "NodeDown": "a node that it needs is down",
    "NonZeroExitCode": "its last attempt failed",
    "None": "it has not been looked at yet by Slurm",
    "NvidiaImexChannels": "it waits for a channel between GPUs (IMEX)",
    "OutOfMemory": "its last attempt ran out of memory",
    "PartitionConfig": "it asks for what its partition does not give",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition starts no jobs now",
    "PartitionNodeLimit": "it asks for more nodes than its partition gives, or for nodes that are down",
    "PartitionTimeLimit": "it asks for more time than its partition gives",
    "PowerNotAvail": "there is not enough power for it now",
    "PowerReserved": "the power it needs is reserved",
    "Priority": "other jobs come first",
    "Prolog": "its Prolog is still running",
    "QOSJobLimit": "its QOS already has as many jobs as it may",
    "QOSNotAllowed": "its QOS is not allowed in its account or partition",
    "QOSResourceLimit": "its QOS already holds as much as it may",
    "QOSTimeLimit": "its QOS has used up its time",
    "QOSUsageThreshold": "the usage of its account is above what its QOS accepts",
    "RaisedSignal": "its last attempt was killed by a signal",
    "ReqNodeNotAvail": "a node that it asks for is not available",
    "Reservation": "it waits for its reservation",
    "ReservationDeleted": "its reservation was deleted",
    "ReservationInvalid": "its reservation cannot be used",
    "Resources": "it is next, and waits for nodes or GPUs to become free",
    "SchedDefer": "it asked to start at once, and Slurm starts nothing at once here",
    "SystemFailure": "something failed in Slurm, the file system or the network",
    "TimeLimit": "its last attempt ran into its time limit",
}
_NEVER = {
    "AccountNotAllowed", "BadConstraints", "DeadLine", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS",
    "MaxMemPerLimit", "PartitionConfig", "PartitionTimeLimit", "QOSNotAllowed", "ReservationDeleted",
    "ReservationInvalid",
}  # fmt: skip
_LIMIT = re.compile(
    r"(?P<holder>QOS|Assoc)?(?P<extent>Grp|Max|Min)"
    r"(?P<what>Cpu|CPU|Jobs?|Mem|Memory|Node|SubmitJobs?|WallDuration|Wall|Energy|GRES|License|BB|Billing|Unknown)"
    r"(?P<time>RunMinutes|RunMins|Minutes)?(?:Per(?P<per>Job|Node|User|Account))?(?:Limit|NotSatisfied)?\Z"
)
# What is counted, and how its time is called. GRES may be another one than GPUs, which the code does not tell.
_THINGS = {
    "CPU": ("processors", "processor time"),
    "MEM": ("memory", "memory over time"),
    "MEMORY": ("memory", "memory over time"),
    "NODE": ("nodes", "node time"),
    "ENERGY": ("energy", "energy"),
    "GRES": ("GPUs", "GPU time"),
    "LICENSE": ("licences", "licence time"),
    "BB": ("burst buffer", "burst buffer over time"),
    "BILLING": ("billing units", "billing units over time"),
    "UNKNOWN": ("of some resource", "of some resource over time"),
    "WALL": ("time", "time"),
    "WALLDURATION": ("time", "time"),
}


_TRES = {
    "CPU": "cpu", "MEM": "mem", "MEMORY": "mem", "NODE": "node", "ENERGY": "energy", "GRES": "gres",
    "LICENSE": "license", "BB": "bb", "BILLING": "billing",
}  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """The limit behind a code: whether an association or a QOS has it, and what sacctmgr may call it.

    `resource` begins the name of the one that is counted, among those in the limit's value; None where it is a number.
    """

    holder: str
    names: tuple[str, ...]
    resource: str | None


@dataclass(frozen=True)
class Reason:
    """Why a job waits. `words` begin in lower case and end without a full stop.

    `never`: it will not start as it is, whatever becomes free.
    """

    code: str
    words: str
    never: bool


def in_words(reason: str | None) -> Reason:
    """Understand what squeue gives as a reason: a code of Slurm's, which details may follow after a comma.

    A code that is not known is quoted. It never raises.
    """
    code, _, details = (reason or "None").strip("() ").partition(",")
    code = code.strip()
    limit = _LIMIT.match(code)
    if code in _PLAIN:
        words = _PLAIN[code]
    elif limit:
        words = _limit_in_words(**limit.groupdict())
    else:
        words = f"Slurm says: {code or 'nothing'}"
    never = code in _NEVER or bool(limit and (limit["extent"] == "Min" or limit["per"] in ("Job", "Node")))
    return Reason(code, words + _details(details), never)


def limit_of(code: str) -> Limit | None:
    """The limit that a code names, by the names of man sacctmgr; None for codes of other kinds."""
    found = _LIMIT.match(code)
    if not found or not found["holder"]:
        return None
    what, extent, per = found["what"].upper(), found["extent"], found["per"]
    plain = {"JOB": "Jobs", "JOBS": "Jobs", "SUBMITJOB": "Submit", "SUBMITJOBS": "Submit"}.get(what)
    plain = plain or ("Wall" if what in ("WALL", "WALLDURATION") else None)
    minutes = {"RunMinutes": "RunMins", "RunMins": "RunMins", "Minutes": "Mins"}.get(found["time"] or "", "")
    name = f"{extent}{plain or 'TRES' + minutes}"
    suffixes = [{"Node": "PerNode", "User": "PU", "Account": "PA"}.get(per or "", "")]
    if extent == "Max" and not per and found["holder"] == "QOS":
        suffixes += ["PU", "PA"]
    return Limit(found["holder"], tuple(name + one for one in suffixes), None if plain else _TRES.get(what, ""))


def _limit_in_words(holder: str | None, extent: str, what: str, time: str | None, per: str | None) -> str:
    owner = "its account" if holder == "Assoc" else "its QOS"
    who = _who(owner, extent, per)
    if what.startswith("SubmitJob"):
        return f"{who} already has as many jobs as allowed"
    if what.startswith("Job"):
        return f"{who} already runs as many jobs as allowed"
    thing, thing_over_time = _THINGS[what.upper()]
    if extent == "Min":
        return f"it asks for less than {owner} demands: {thing}"
    if per in ("Job", "Node"):
        asked = thing_over_time if time else thing
        return f"it asks for more {asked}{' on a node' if per == 'Node' else ''} than a job of {owner} may"
    if time == "Minutes" or what == "Wall":
        return f"{who} would use more {thing_over_time} than it was given, with this job"
    if time:
        return f"the running jobs of {who} would claim more {thing_over_time} than allowed, with this one"
    return f"{who} would hold more {thing} than allowed, with this job"


def _who(owner: str, extent: str, per: str | None) -> str:
    """Say whose jobs count together."""
    if per == "Account":
        return f"its account (in {owner})"
    if per == "User" or extent == "Max":
        return f"its user (in {owner})"
    return owner


def _details(details: str) -> str:
    """Keep what Slurm adds, such as `UnavailableNodes:n1`."""
    shown = "".join(one if one.isprintable() else "?" for one in " ".join(details.split())[:200])
    return f" ({shown})" if shown else ""
