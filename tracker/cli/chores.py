"""Chores: what a server does beside answering, in a process of its own that lives as long as the server."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial

from tracker.actions.compact import compact_due, compact_quiet
from tracker.actions.end_silent import end_silent
from tracker.actions.make_results import make_results
from tracker.agent.stop import Stop
from tracker.cli.processes import SAFE_PATH, die_with_parent
from tracker.errors import DatabaseUnavailable
from tracker.settings import Settings
from tracker.store import tokens
from tracker.store.database import Database

log = logging.getLogger("tracker.chores")
RESTART_AFTER_S = 2.0
HEARING_S = 300.0


@dataclass
class Chore:
    """Something that is done every so many seconds; it looks now and then whether it should end early."""

    name: str
    every_s: float
    do: Callable[[Database, Callable[[], bool]], object]
    first_after_s: float = 0.0


def chores_of(settings: Settings) -> list[Chore]:
    """What is to be done."""
    silent_for = timedelta(seconds=settings.lost_after_s)
    chores = [
        Chore("compaction", 2.0, compact_due),
        Chore("results of finished runs", 5.0, make_results),
        Chore("tokens that are over", 3600.0, lambda db, over: forget_tokens(db)),
        Chore("compaction of quiet runs", 120.0, lambda db, over: compact_quiet(db, _now(), over)),
    ]
    if silent_for:
        # While the server was away nothing could be heard: who speaks first has a few minutes to do so.
        first_after_s = min(settings.lost_after_s, HEARING_S)
        chores.append(
            Chore("silent runs", 10.0, lambda db, over: end_silent(db, silent_for, _now(), over), first_after_s)
        )
    return chores


def _now() -> datetime:
    return datetime.now(timezone.utc)


def forget_tokens(db: Database) -> None:
    """Remove tokens and sessions that are good for nothing any more."""
    with db.write() as session:
        tokens.forget_expired(session, _now())


def run_chores(settings: Settings, once: bool = False) -> None:
    """Do the chores until a signal comes, or each of them once."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop.ask)
    db = Database(settings.database_url)
    chores = chores_of(settings)
    not_before_s = {chore.name: 0.0 if once else time.monotonic() + chore.first_after_s for chore in chores}
    while not stop.is_asked:
        for chore in chores:
            if time.monotonic() >= not_before_s[chore.name] and not stop.is_asked:
                _do(chore, db, stop)
                not_before_s[chore.name] = time.monotonic() + chore.every_s
        if once or stop.wait(0.5):
            break
    db.close()


def _do(chore: Chore, db: Database, stop: Stop) -> None:
    try:
        chore.do(db, lambda: stop.is_asked)
    except DatabaseUnavailable as problem:
        log.warning("%s: %s", chore.name, problem)
    except Exception:  # the outermost place of a chore: it tells what happened, and the others are done all the same
        log.exception("%s went wrong", chore.name)


@dataclass
class Chores:
    """The process that does the chores of a server."""

    settings: Settings
    process: subprocess.Popen[bytes] | None = None
    not_before_s: float = field(default=0.0)

    def keep_alive(self) -> None:
        """Start it, and again when it has ended; called every second or so."""
        if (self.process is not None and self.process.poll() is None) or time.monotonic() < self.not_before_s:
            return
        self.not_before_s = time.monotonic() + RESTART_AFTER_S
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tracker", "chores"],
            env={**os.environ, **SAFE_PATH, "TRACKER_DATABASE": self.settings.database_url},
            preexec_fn=partial(die_with_parent, signal.SIGKILL),  # at once: chores can be broken off anywhere
            stdin=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """Ask it to end; it ends after the transaction that it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
