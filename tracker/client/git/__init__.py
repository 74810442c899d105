"""What git knows of the code that runs, read from its files: git itself is never started."""

from __future__ import annotations

from tracker.client import redact
from tracker.client.git.changes import Changes, Found
from tracker.client.git.objects import Objects, Unreadable
from tracker.client.git.repository import Repository, find
from tracker.client.pace import OutOfTime, Pace
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

MOST_DIFF_BYTES = 256 * 1024
REDACTION_S = 1.0


def describe(folders: list[str], pace: Pace, most_diff_bytes: int = MOST_DIFF_BYTES) -> dict[str, Any] | None:
    """Return what the first repository of these folders holds, in the form of docs/spool.md; None without one.

    What cannot be read is told under `notes`.
    """
    for folder in folders:
        try:
            repository = find(folder, pace)
        except (OSError, ValueError) as problem:  # a path that git's files name may have a NUL
            reason = getattr(problem, "strerror", None) or problem
            return {"notes": [f"the repository of {folder} cannot be read: {reason}"]}
        if repository:
            return _described(repository, pace, most_diff_bytes)
    return None


def _described(repository: Repository, pace: Pace, most_diff_bytes: int) -> dict[str, Any]:
    told: dict[str, Any] = {"root": repository.root}
    try:
        remote = repository.remote()
        told["remote"] = redact.address(remote) if remote else None
        unread = repository.unread_format()
        if unread:
            raise Unreadable(unread)
        head = repository.head()
        told.update(branch=head.branch, commit=head.commit)
        told.update(_changes(repository, head.commit, pace, most_diff_bytes))
    except (Unreadable, OSError) as problem:
        told.setdefault("notes", []).append(str(problem))
    except OutOfTime:
        told.setdefault("notes", []).append("there was no time to look at the repository")
    return {key: value for key, value in told.items() if value is not None and value != []}


def _changes(repository: Repository, commit: str | None, pace: Pace, most_diff_bytes: int) -> dict[str, Any]:
    objects = Objects(repository.objects, pace)
    try:
        found = Changes(repository, objects, commit, pace, most_diff_bytes).look()
    finally:
        objects.close()
    diff, hidden_lines = _redacted(found, pace)
    if hidden_lines:
        found.notes.append(f"the diff does not apply: {hidden_lines} of its lines look like secrets and are hidden")
    return {
        "dirty": found.dirty,
        "diff": diff or None,
        "changed": found.changed,
        "not_in_diff": found.not_in_diff or None,
        "untracked": found.untracked,
        "notes": found.notes,
    }


def _redacted(found: Found, pace: Pace) -> tuple[str, int]:
    """Return the diff without secrets, and how many of its lines were changed by that."""
    pace.allow(REDACTION_S)  # what was found is not thrown away
    lines, told, in_hunk = redact.Lines(code=True), [], False
    for raw in found.diff:
        text = raw.decode("utf-8", "replace")
        if text.startswith(("diff --git ", "@@")):  # lines of files have a sign before them
            in_hunk = text[0] == "@"
            lines.begin_again()
        told.append(text[0] + lines.told(text[1:]) if in_hunk and text[0] in " +-" else text)
        pace.step()
    return "".join(told), lines.hidden
