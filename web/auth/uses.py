"""When tokens were used last, written down now and then."""

from __future__ import annotations

import time

from tracker.errors import DatabaseUnavailable
from tracker.store import tokens
from tracker.store.database import Database
from tracker.store.tokens import Shown

_AGAIN_AFTER_S = 60.0
_PATIENCE_S = 0.25


class Uses:
    """Writes a token's last use, and leaves it for a minute where others write: nobody who reads waits for that."""

    def __init__(self) -> None:
        self._not_before_s = 0.0

    def note(self, database: Database, shown: Shown) -> None:
        """Keep that this token is used now, if that is worth a write."""
        if not shown.use_is_due or time.monotonic() < self._not_before_s:
            return
        try:
            with database.write(within_s=_PATIENCE_S) as session:
                tokens.note_use(session, shown.id)
        except DatabaseUnavailable:
            self._not_before_s = time.monotonic() + _AGAIN_AFTER_S
