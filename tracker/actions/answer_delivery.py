"""What agents are told besides what became of their parts, by the same few statements for any number of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from tracker.actions.read_delivery import Delivery
from tracker.events import JobFolder
from tracker.store import attempts, job_tokens, logs, runs, told
from tracker.store.database import Connection, Session
from tracker.store.logs import Followed
from tracker.store.told import Told

MOST_TOKENS = 1000


def follow(
    session: Session | Connection, deliveries: Sequence[Delivery], keep_bytes: int
) -> list[list[dict[str, Any]]]:
    """The output files that each agent should read, and of how much of them the end is kept."""
    nodes = {(one.cluster, one.node) for one in deliveries if one.cluster and not one.shared and one.user is None}
    wanted = logs.followed(session, nodes)
    return [[_wish(delivery, one, keep_bytes) for one in _wanted(session, delivery, wanted)] for delivery in deliveries]


def _wanted(
    session: Session | Connection, delivery: Delivery, of_nodes: dict[tuple[str, str], list[Followed]]
) -> list[Followed]:
    if not delivery.cluster:
        return []
    if delivery.shared:
        return logs.followed_by_nobody(session, delivery.cluster, delivery.user)
    return of_nodes.get((delivery.cluster, delivery.node), [])


def _wish(delivery: Delivery, one: Followed, keep_bytes: int) -> dict[str, Any]:
    wish = {
        "folder": JobFolder(delivery.cluster, one.job_id, None).name,
        "stream": one.stream,
        "path": one.path,
        "uid": one.uid,
        "offset": one.offset_bytes,
        "keep": keep_bytes,
    }
    return wish | ({"file": one.file} if one.file else {})


def tell(session: Session | Connection, deliveries: Sequence[Delivery]) -> list[list[dict[str, Any]]]:
    """What running jobs among each agent's folders should know."""
    asked = [_jobs(delivery.folders("present")) for delivery in deliveries]
    known = {(one.cluster, one.job_id): one for one in told.of_jobs(session, set().union(*asked))}
    return [[_said(known[job]) for job in sorted(jobs & known.keys())] for jobs in asked]


def _said(one: Told) -> dict[str, Any]:
    return (
        {"folder": JobFolder(one.cluster, one.job_id, None).name, "attempt": one.attempt}
        | ({} if one.ends_at is None else {"ends_at": one.ends_at.timestamp()})
        | ({} if one.last_step is None else {"last_step": one.last_step})
    )


def release(session: Session, deliveries: Sequence[Delivery]) -> list[list[str]]:
    """Of each agent's drained folders those whose run is over for good."""
    asked = [{_run_named(folder): folder.name for folder in one.folders("folders")} for one in deliveries]
    named = set[tuple[str, int] | str]().union(*asked)
    over = runs.over(
        session, [one for one in named if isinstance(one, tuple)], [one for one in named if isinstance(one, str)]
    )
    known = {(run.cluster, run.job_id) for run in over} | {run.id for run in over}
    return [[name for run, name in names.items() if run in known] for names in asked]


def _run_named(folder: JobFolder) -> tuple[str, int] | str:
    """The run's job or, outside Slurm, its id."""
    if folder.run_id:
        return str(uuid.UUID(folder.run_id))
    assert folder.cluster is not None and folder.job_id is not None
    return folder.cluster, folder.job_id


def gpus(session: Session, delivery: Delivery) -> dict[str, list[int]]:
    """The GPUs that these jobs have on the agent's node: it was not there when their Prolog told of them."""
    held = attempts.gpus_on(session, _jobs(delivery.folders("gpus_of")), delivery.node)
    return {JobFolder(cluster, job_id, None).name: indices for (cluster, job_id), indices in held.items()}


def tokens(session: Session, delivery: Delivery) -> dict[str, str]:
    """The tokens of jobs whose folders have none: for running ones whose user owns the folder, as the agent says."""
    asked = delivery.manifest.get("tokens_of")
    if not isinstance(asked, dict) or delivery.user is not None:
        return {}
    owners = {JobFolder.parse(name): user for name, user in [*asked.items()][:MOST_TOKENS] if isinstance(user, str)}
    jobs = {(one.cluster, one.job_id): user for one, user in owners.items() if one and one.cluster and one.job_id}
    node = delivery.node if delivery.is_of_node else None
    given = job_tokens.given(session, jobs, node)
    return {JobFolder(cluster, job_id, None).name: secret for (cluster, job_id), secret in given.items()}


def _jobs(folders: set[JobFolder]) -> set[tuple[str, int]]:
    return {(one.cluster, one.job_id) for one in folders if one.cluster and one.job_id}
