"""Read a copy of an artifact out of the server's own store. No path that a user names is ever opened."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import BinaryIO

from tracker.errors import NotFound
from tracker.store.tables import Artifact, Run


def open_copy(store: Path | None, run: Run, artifact: Artifact) -> BinaryIO:
    """The copy of an artifact, open for reading. Raises NotFound with the reason and the way out.

    It is found by its digest, and must belong to the run's user: who knows the digest of another's file gets nothing.
    """
    if artifact.copied_to is None or artifact.sha256 is None:
        raise NotFound(f"There is no copy of this artifact; it was at {artifact.path}.")
    if store is None or artifact.copied_to != os.path.realpath(store):
        raise NotFound(f"This server does not read {artifact.copied_to}, where the copy is: get it from there.")
    name = store / "sha256" / artifact.sha256[:2] / artifact.sha256[2:]
    try:
        file = os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as problem:
        raise NotFound(f"The copy in {artifact.copied_to} cannot be read: {problem.strerror}.") from None
    if not _is_of(file, run.user):
        file.close()
        raise NotFound(f"The copy in {artifact.copied_to} does not belong to the run's user.")
    return file


def _is_of(file: BinaryIO, user: str | None) -> bool:
    status = os.fstat(file.fileno())
    try:
        return stat.S_ISREG(status.st_mode) and pwd.getpwuid(status.st_uid).pw_name == user
    except KeyError:
        return False
