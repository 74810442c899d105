"""`tracker doctor`: what of tracker works here, what does not, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from tracker.actions.watch import watched_user
from tracker.agent.hardware.gres import gpu_files
from tracker.agent.hardware.self_test import look_over_gpus
from tracker.agent.main import node_name, slurm_folders
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.slurm import munge
from tracker.slurm.choice import chosen
from tracker.slurm.missing import SENTENCES, missing
from tracker.slurm.pyslurm_source import Pyslurm
from tracker.store.database import Database


class Finding(NamedTuple):
    """What was looked at, whether it works, and what was seen."""

    name: str
    ok: bool
    detail: str


def look_over(settings: Settings) -> Iterator[Finding]:
    """Look at the database, at the GPUs of this machine, at Slurm, and at what cannot be known of it."""
    try:
        yield Finding("database", True, _database(settings))
    except TrackerError as problem:
        yield Finding("database", False, str(problem))
    if "munge" in settings.logins.replace(",", " ").split():
        yield _munge(settings)
    gpus = look_over_gpus(gpu_files(slurm_folders(os.environ), node_name(os.environ)))
    if gpus is not None:
        yield Finding("gpus", gpus.ok, gpus.detail)
    try:
        source = chosen(settings)
        facts = source.facts()
        jobs = len(source.queue())
    except TrackerError as problem:
        yield Finding("slurm", False, str(problem))
        return
    told = f"cluster {facts.name}, Slurm {facts.slurm_version}, {jobs} jobs, asked by {source.name}"
    yield Finding("slurm", True, told)
    if isinstance(source, Pyslurm) and source.why_not:
        yield Finding("pyslurm", False, source.why_not)
    for key in missing(facts, only_own=watched_user(settings) is not None):
        yield Finding(key, False, SENTENCES[key])


def _munge(settings: Settings) -> Finding:
    try:
        return Finding("munge", True, f"tells that this is the user with the uid {munge.check(settings.munge_socket)}")
    except TrackerError as problem:
        return Finding("munge", False, str(problem))


def _database(settings: Settings) -> str:
    database = Database(settings.database_url)
    try:
        database.check()
    finally:
        database.close()
    return "answers, and has the tables of this version"
