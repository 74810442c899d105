"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass

SCOPES = ("read", "write", "ingest", "admin")
"""What a token may be for: reading, changing, delivering events, and the rights of an administrator."""
ALL_SCOPES = frozenset(SCOPES)


@dataclass(frozen=True)
class Identity:
    """A person or a node. Roles: `admin` sees all runs, `user` their own, `node` may only ingest (so may an admin).

    `scopes` narrow what the role allows: an administrator without `admin` is a user like others.
    `node` (`cluster:node`) is the one that an agent's key is for, `job` (cluster, job id) that of a job's token.
    """

    user: str
    role: str
    scopes: frozenset[str] = ALL_SCOPES
    node: str | None = None
    job: tuple[str, int] | None = None

    @property
    def sees_all(self) -> bool:
        """Whether runs of every user may be read."""
        return self.role == "admin" and "admin" in self.scopes

    @property
    def sees_own(self) -> bool:
        """Whether this is a person, with runs of their own, and not a job of theirs."""
        return self.role in ("admin", "user") and self.job is None

    @property
    def may_ingest(self) -> bool:
        """Whether events of every user may be delivered."""
        return self.role in ("admin", "node") and "ingest" in self.scopes

    @property
    def reports_all(self) -> bool:
        """Whether nothing of what is delivered has to be looked at: it may be of any user, job and node."""
        return self.may_ingest and self.node is None
