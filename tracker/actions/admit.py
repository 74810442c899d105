"""Who may report what: agents with a site's key all of it, a node's key what happened there, people what is theirs.

See docs/decisions/021-who-may-report.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

from tracker.actions.read_delivery import Delivery, Part, runs_named
from tracker.actions.store_lines import Sent
from tracker.errors import Forbidden, NotKnownYet, TrackerError
from tracker.events import JobFolder, parse_hook_event, run_of_writer
from tracker.store import attempts, known_runs
from tracker.store.attempts import Elsewhere
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.known_runs import Index, KnownRun

Refused = dict[int, TrackerError]
"""Why parts may not be delivered, by their places."""


def admit(db: Database, sender: Identity, delivery: Delivery) -> Delivery:
    """The delivery without what the sender may not deliver, which is refused; runs of others are not even locked.

    Raises Forbidden when the sender may deliver nothing of it.
    """
    if "ingest" not in sender.scopes:
        raise Forbidden("This token has no scope `ingest`: it may not deliver.")
    return _of_node(db, sender.node, delivery) if sender.may_ingest and sender.node else _own(db, sender, delivery)


def _own(db: Database, sender: Identity, delivery: Delivery) -> Delivery:
    named = {folder for key in ("folders", "present", "gpus_of") for folder in delivery.named(key)}
    jobs, ids = set(delivery.jobs), set(delivery.ids)
    jobs |= {(one.cluster, one.job_id) for one in named if one.cluster and one.job_id}
    ids |= {str(uuid.UUID(one.run_id)) for one in named if one.run_id}
    with db.read() as session:
        known = Index(known_runs.known(session, jobs, ids)) if jobs or ids else Index(())
    refused: Refused = {}
    for place, folder, part in _folders(delivery):
        problem = _why_not_own(sender, delivery, known, folder, part)
        if problem is not None:
            refused[place] = problem
    own = frozenset(one for one in named if _whose(known, one, delivery) == sender.user and _is_within(sender, one))
    return _without(replace(delivery, user=sender.user, own=own), refused)


def _why_not_own(
    sender: Identity, delivery: Delivery, known: Index, folder: JobFolder | None, part: Part
) -> TrackerError | None:  # fmt: skip
    if part.get("type") == "hook":
        return Forbidden("What hooks say is delivered by the agents of nodes alone.")
    if folder is None:
        return None  # it is told as a mistake
    if not _is_within(sender, folder):
        return Forbidden(f"This token is of another job than {folder.name}.")
    if part.get("user") not in (None, sender.user):
        told = str(part["user"])[:80]
        return Forbidden(
            f"You are {sender.user}, and {folder.name} is said to be {told}'s; if you are both, give --user."
        )
    run = _run_of(known, folder, delivery)
    beside = known.of_ids.get(str(uuid.UUID(run_of_writer(str(part.get("writer"))) or "0" * 32)))
    if beside is not None and beside.user != sender.user:
        return Forbidden(f"A file of {folder.name} says that it is of another user's run.")
    if folder.run_id and run is None:
        return None  # it begins with this
    if run is None or run.user is None:
        return NotKnownYet(f"Slurm has not told yet whose job {folder.name} is; it is taken when that is known.")
    return None if run.user == sender.user else Forbidden(f"The run of {folder.name} is another user's.")


def _is_within(sender: Identity, folder: JobFolder) -> bool:
    return sender.job is None or sender.job == (folder.cluster, folder.job_id)


def _whose(known: Index, folder: JobFolder, delivery: Delivery) -> str | None:
    run = _run_of(known, folder, delivery)
    return None if run is None else run.user


def _run_of(known: Index, folder: JobFolder, delivery: Delivery) -> KnownRun | None:
    if folder.run_id:
        return known.of_ids.get(str(uuid.UUID(folder.run_id)))
    assert folder.cluster is not None and folder.job_id is not None
    return known.of_job(folder.cluster, folder.job_id, delivery.now)


def _of_node(db: Database, key: str, delivery: Delivery) -> Delivery:
    """What a node's own key may deliver: `key` is `cluster:node`."""
    if delivery.shared or f"{delivery.cluster}:{delivery.node}" != key:
        who = f"{delivery.cluster}:{delivery.node}"[:200]
        raise Forbidden(f"This is the key of the agent of {key}, and the delivery is {who}'s.")
    with db.read() as session:
        elsewhere = attempts.elsewhere(session, delivery.jobs, delivery.node) if delivery.jobs else {}
    refused: Refused = {}
    begun = set[tuple[str, int]]()
    for place, (part, blob) in enumerate(delivery.parts):
        jobs, _ = runs_named([(part, blob)], delivery.cluster)
        said = parse_hook_event(blob) if part.get("type") == "hook" else None
        if said is not None and said.get("SLURMD_NODENAME", delivery.node) != delivery.node:
            refused[place] = Forbidden(f"This hook's event is of another node than {key}, whose key this is.")
        elif any(cluster != delivery.cluster for cluster, _ in jobs):
            refused[place] = Forbidden(f"This is of another cluster than {key}, whose key this is.")
        elif any(job in elsewhere and not _may_have_begun(said, elsewhere[job]) for job in jobs - begun):
            refused[place] = Forbidden(f"This is of a job that is not on {key}, whose key this is.")
        elif said is not None:
            begun |= jobs
    return _without(replace(delivery, is_of_node=True), refused)


def _may_have_begun(said: dict[str, str] | None, elsewhere: Elsewhere) -> bool:
    """Whether a hook may tell of an attempt of which the controller has not told; only its list of nodes is whole."""
    if said is None:
        return False
    return not elsewhere.is_certain or said.get("SLURM_JOB_RESTART_COUNT", "") not in ("", str(elsewhere.restarts))


def _folders(delivery: Delivery) -> Iterator[tuple[int, JobFolder | None, Part]]:
    for place, (part, _) in enumerate(delivery.parts):
        yield place, JobFolder.parse(str(part.get("folder"))), part


def _without(delivery: Delivery, refused: Refused) -> Delivery:
    """The delivery in which these parts are refused; what remains of a person's is theirs, whatever it says."""
    jobs, ids = runs_named(
        (one for place, one in enumerate(delivery.parts) if place not in refused), delivery.cluster
    )  # fmt: skip
    lines = {place: refused.get(place, one) for place, one in delivery.lines.items()}
    if delivery.user is not None:
        lines = {
            place: replace(one, user=delivery.user) if isinstance(one, Sent) else one for place, one in lines.items()
        }
    others = {place: problem for place, problem in refused.items() if place not in lines}
    return replace(delivery, lines=lines, refused=others, jobs=jobs, ids=ids)
