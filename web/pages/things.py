"""Artifacts and media of a run, as its page shows them."""

from __future__ import annotations

import os
from typing import Any

from tracker.store import artifacts, media
from tracker.store.database import Session
from web.context import settings

MOST_NAMES = 100
MOST_ARTIFACTS = 30


def things(session: Session, run_id: str) -> dict[str, Any]:
    """What the page's two sections need, by two names."""
    names = media.shown(session, run_id, MOST_NAMES + 1)
    last = artifacts.find(session, run_id, MOST_ARTIFACTS)
    count = len(last) if len(last) < MOST_ARTIFACTS else artifacts.count(session, run_id)
    store = settings().artifacts_path
    return {
        "media": {"shown": sorted(names[:MOST_NAMES], key=_by_kind), "more": len(names) > MOST_NAMES},
        "artifacts": {"shown": last, "count": count, "store": store and os.path.realpath(store)},
    }


def _by_kind(one: media.Shown) -> int:
    return media.KINDS.index(one.kind)
