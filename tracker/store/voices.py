"""Voices: whose points a metric has, and which of them later attempts took back.

**What is hidden.** An attempt that resumes from a checkpoint logs steps again that an earlier attempt logged after that
checkpoint. Those earlier points are kept, and hidden until somebody asks for them. Attempt r resumes at step K, the
least of its writers' first steps. Of a metric whose first own step in r is f, points of earlier attempts are hidden at
steps >= K while it has none in r, and when K <= f <= 2 K + 10: it is logged now and then on the same axis. Else it
counts on another axis, such as epochs, and the points at steps >= f are hidden (docs/decisions/007-resumed-steps.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tracker.store.segments import Piece
from tracker.store.writers import Author

BEYOND_ALL_STEPS = 2**63


@dataclass
class Voice:
    """Whose points: a rank of the script or, with `rank` None, a node's machine. Node and pieces by restarts."""

    rank: int | None
    node: str | None
    nodes: dict[int, str | None] = field(default_factory=dict)
    pieces: dict[int, list[Piece]] = field(default_factory=dict)

    def limits(self, resumed: Mapping[int, int]) -> dict[int, int]:
        """Of each attempt the step from which a later one took its points back.

        `resumed` are the least first steps of the script's attempts, by restarts.
        """
        if self.rank is None:
            return dict.fromkeys(self.pieces, BEYOND_ALL_STEPS)
        found, limit = {}, BEYOND_ALL_STEPS
        for restarts in sorted({*self.pieces, *resumed}, reverse=True):
            found[restarts] = limit
            first_step = min((piece.steps[0] for piece in self.pieces.get(restarts, ())), default=None)
            limit = min(limit, taken_back_from(resumed.get(restarts), first_step))
        return found


def voices(pieces: Iterable[Piece], authors: Mapping[tuple[str, str], Author]) -> list[Voice]:
    """Who has these pieces: ranks from the lowest, then machines by the names of their nodes."""
    found: dict[tuple[bool, int, str], Voice] = {}
    for piece in pieces:
        author = authors.get((piece.run_id, piece.writer))
        if author is None:
            continue
        is_machine = author.rank is None
        who = (is_machine, author.rank or 0, (author.node or "") if is_machine else "")
        voice = found.setdefault(who, Voice(author.rank, author.node if is_machine else None))
        earlier = voice.nodes.get(author.restarts)
        voice.nodes[author.restarts] = min(filter(None, (earlier, author.node)), default=None)
        voice.pieces.setdefault(author.restarts, []).append(piece)
    for voice in found.values():
        voice.pieces = dict(sorted(voice.pieces.items()))
    return [found[who] for who in sorted(found)]


def resumed_at(authors: Mapping[tuple[str, str], Author], run_id: str) -> dict[int, int]:
    """The least first step of a run's script in each attempt, by restarts."""
    found: dict[int, int] = {}
    for (run, _), author in authors.items():
        if run == run_id and author.rank is not None:
            found[author.restarts] = min(author.first_step, found.get(author.restarts, author.first_step))
    return found


def taken_back_from(resumed_at: int | None, first_step: int | None) -> int:
    """The step from which an attempt takes back a metric's earlier points.

    `resumed_at` is the least first step of the attempt's writers, `first_step` the least of the metric in it.
    """
    if first_step is None:
        return BEYOND_ALL_STEPS if resumed_at is None else resumed_at
    same_axis = resumed_at is not None and resumed_at <= first_step <= 2 * abs(resumed_at) + 10
    return resumed_at if same_axis and resumed_at is not None else first_step
