"""A read replica: a copy of the database that PostgreSQL keeps up to date by streaming, for those who only look.

Whether it may be read is found out in the background, each second: it answers, and it has what the primary had
`max_lag_s` ago. That is asked of the primary's and the replica's place in the log, so that a replica that has lost its
primary is told from one that is up to date. While the primary itself is away the replica is all there is to read.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque

from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger("tracker.replica")

LOOK_EVERY_S = 1.0
SILENT_AFTER_S = 5.0
_WRITTEN = text("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
_REPLAYED = text("SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')")  # NULL: it is no replica (any more)


class Replica:
    """Watches a replica for one process.

    `fresh_for_s`: after a change, for so long somebody may not see it in the replica.
    """

    def __init__(self, engine: Engine, primary: Engine, max_lag_s: float) -> None:
        self.engine = engine
        self.fresh_for_s = math.ceil(max_lag_s + LOOK_EVERY_S)
        self._primary, self._max_lag_s = primary, max_lag_s
        self._good, self._looked_s = False, 0.0
        self._written: deque[tuple[float, int]] = deque(
            maxlen=4096
        )  # when the primary was at which place, oldest first
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def usable(self) -> bool:
        """Whether it may be read, as far as is known; one that hangs while it is asked may not."""
        return self._good and time.monotonic() - self._looked_s < SILENT_AFTER_S

    def watch(self) -> None:
        """Begin to look, unless it has begun. Called when there is something to read: a server forks before that."""
        with self._lock:
            if self._watcher is None:
                self.look()
                self._watcher = threading.Thread(target=self._run, name="replica", daemon=True)
                self._watcher.start()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self.look()

    def look(self) -> None:
        """Find out whether the replica may be read now."""
        now_s = time.monotonic()
        written, replayed = _ask(self._primary, _WRITTEN), _ask(self.engine, _REPLAYED)
        if written is not None:
            if self._written and written < self._written[-1][1]:
                self._written.clear()  # another one is the primary now
            self._written.append((now_s, written))
        good = replayed is not None and (written is None or self._lag_s(replayed, now_s) <= self._max_lag_s)
        self._looked_s = time.monotonic()
        self._note(good)

    def _note(self, good: bool) -> None:
        if good != self._good:
            log.warning("The replica is %s.", "read" if good else "away or behind: the primary is read instead")
        self._good = good

    def _lag_s(self, replayed: int, now_s: float) -> float:
        """How long ago the primary was where the replica is; what the replica has, is forgotten."""
        while self._written and self._written[0][1] <= replayed:
            self._written.popleft()
        return now_s - self._written[0][0] if self._written else 0.0

    def failed(self) -> None:
        """Note that reading it failed: until the next look the primary is read."""
        self._note(False)

    def close(self) -> None:
        """Stop looking and let the connections go."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        self.engine.dispose()


def _ask(engine: Engine, question: TextClause) -> int | None:
    try:
        with engine.connect() as connection:
            answer = connection.execute(question).scalar_one()
    except SQLAlchemyError:  # it is away, or it is a replica itself: either way it has nothing to tell
        return None
    return None if answer is None else int(answer)
