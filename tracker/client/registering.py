"""Artifacts of a run: each is told by one line of docs/spool.md, and by a second one when its digest comes later.

What is raised here becomes a note of the run (`Run._tell_beside`).
"""

from __future__ import annotations

import math
import os
import time

from tracker.client import encode, worker
from tracker.client.artifacts import INLINE_BYTES, Artifact, Changed
from tracker.client.beside import beginning
from tracker.client.copies import FolderStore
from tracker.client.encode import Unusable
from tracker.client.s3 import S3Store
from tracker.client.spool import home
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Mapping

    from tracker.client.artifacts import Hashing
    from tracker.client.beside import Teller

SLICE_S = 0.1  # of the background thread, for a digest at a time


def artifact(run: Teller, path: Any, name: Any, copy: Any, step: Any) -> None:
    """Tell of a file or folder: where it lies, or where its copy lies too. Raises Unusable for what is neither."""
    found = Artifact(path)
    name = encode.clean(name or found.name)[:500]
    line = {**beginning("artifact", run, name, step), "id": os.urandom(8).hex()}
    if found.left_out:
        run.note(f"artifact {name}", f"{found.left_out} links, devices and the like in it are left out")
    url, digests = _copied(run, name, found) if copy else (None, None)
    if url is not None:
        line["copied_to"] = url
    if digests is not None:
        run.tell({**line, **found.told(digests)})
    elif found.size_bytes <= INLINE_BYTES:
        _tell_digests(run, line, found, found.hashing(), math.inf)
    else:
        run.tell({**line, **found.told()})
        _tell_later(run, line, found, found.hashing())


def _tell_later(run: Teller, line: dict[str, Any], found: Artifact, work: Hashing[dict[str, str]]) -> None:
    """Go on in the background, in slices: other work of that thread would else wait for minutes."""
    worker.later(lambda: _tell_digests(run, line, found, work, SLICE_S), f"artifact {line['name']}")


def _tell_digests(
    run: Teller, line: dict[str, Any], found: Artifact, work: Hashing[dict[str, str]], most_s: float
) -> None:
    until_s = time.monotonic() + most_s
    try:
        # At the end of the process there is no later: what can be done while it waits is done.
        while time.monotonic() < until_s or worker.is_awaited():
            next(work)
        _tell_later(run, line, found, work)
    except StopIteration as end:
        run.tell({**line, **found.told(end.value)})
    except Changed as problem:
        run.tell({**line, **found.told(), "problem": str(problem)})


def _copied(run: Teller, name: str, found: Artifact) -> tuple[str | None, dict[str, str] | None]:
    """Copy; where that fails, the artifact is told of where it lies all the same."""
    try:
        store = _store(os.environ)
        digests = {file.name: store.put(file) for file in found.files}
        if found.is_folder:
            store.put_bytes(found.manifest(digests))
        return store.url, digests
    except (Unusable, Changed) as problem:
        run.note(f"copy of {name}", f"{problem}; it is registered where it lies")
    except Exception as problem:  # of s3fs, whose errors are of many families
        run.note(f"copy of {name}", f"{type(problem).__name__}: {problem}; it is registered where it lies")
    return None, None


def _store(env: Mapping[str, str]) -> FolderStore | S3Store:
    place = env.get("TRACKER_ARTIFACTS") or f"{home(env)}/artifacts"
    if place.startswith("s3://"):
        return S3Store(place)
    if not os.path.isabs(place):
        raise Unusable(f"TRACKER_ARTIFACTS is a folder from / on or s3://bucket/prefix, not {place}")
    return FolderStore(place)
