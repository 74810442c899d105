"""Tokens of jobs: good for the runs of one job as long as it lasts. They are signed and not kept (docs/security.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import Connection, bindparam, select
from sqlalchemy.orm import Session

from tracker.states import LIVE_STATES
from tracker.store import signing_keys
from tracker.store.among import among
from tracker.store.attempts import node_names
from tracker.store.identity import Identity
from tracker.store.planned import ONCE
from tracker.store.tables import Attempt, Run, SigningKey

PREFIX = "trj_"
_NAME = "job"
_MOST_CHARS = 1000
_RUNS = Run.__table__.c
_OF_JOBS = (
    select(Run.cluster, Run.job_id, Run.user, Run.state, Attempt.nodes)
    .outerjoin(Attempt, Attempt.run_id == Run.id)
    .where(among(_RUNS.cluster, "clusters"), among(_RUNS.job_id, "jobs"))
    .order_by(Run.created_at, Attempt.number)
)
_SECRET = select(SigningKey.secret).where(SigningKey.name == bindparam("name")).scalar_subquery().label("secret")
_WHOSE = (
    select(_RUNS.state, _RUNS.user, _SECRET)
    .where(_RUNS.cluster == bindparam("cluster"), _RUNS.job_id == bindparam("job_id"))
    .order_by(_RUNS.created_at.desc())
    .limit(1)
    .execution_options(**ONCE)
)


def given(
    session: Session, owners: Mapping[tuple[str, int], str], node: str | None = None
) -> dict[tuple[str, int], str]:  # fmt: skip
    """Tokens of these jobs (cluster, job id), each for its user; with a node of jobs that are known to be there.

    One that is over, of another user or not known has none.
    """
    if not owners:
        return {}
    asked = {"clusters": {one for one, _ in owners}, "jobs": {one for _, one in owners}}
    last = {(row.cluster, row.job_id): row for row in session.execute(_OF_JOBS, asked)}
    fit = [
        (job, row.user) for job, row in last.items()
        if row.state in LIVE_STATES and row.user == owners.get(job) and (node is None or node in node_names(row.nodes))
    ]  # fmt: skip
    if not fit:
        return {}
    signer = _signer(signing_keys.get(session, _NAME))
    return {job: PREFIX + str(signer.dumps([*job, user])) for job, user in fit}


def identify(session: Session | Connection, token: str) -> Identity | None:
    """Whose job's token it is; None when it is none of ours, or the job is over."""
    signed = token.removeprefix(PREFIX)
    told = _told(signed)
    if told is None:
        return None
    cluster, job_id, user = told
    run = session.execute(_WHOSE, {"cluster": cluster, "job_id": job_id, "name": _NAME}).first()
    # Ids of jobs are used again: the user of the job that has this one now must be the one that the token was made for.
    if run is None or run.secret is None or run.state not in LIVE_STATES or run.user != user:
        return None
    try:
        _signer(run.secret).loads(signed)
    except BadSignature:
        return None
    return Identity(user, "user", job=(cluster, job_id))


def _told(signed: str) -> tuple[str, int, str] | None:
    """What a token says, whoever made it up; one that is packed is none of ours, and could be of any length."""
    if len(signed) > _MOST_CHARS or signed.startswith("."):
        return None
    _, said = _signer("").loads_unsafe(signed)
    if not isinstance(said, list) or len(said) != 3:
        return None
    cluster, job_id, user = said
    texts = isinstance(cluster, str) and isinstance(user, str) and "\0" not in cluster
    return (cluster, job_id, user) if texts and type(job_id) is int and 0 < job_id < 2**63 else None


def _signer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt="tracker job", signer_kwargs={"digest_method": hashlib.sha256})
