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
    """

    user: str
    role: str
    scopes: frozenset[str] = ALL_SCOPES

    @property
    def sees_all(self) -> bool:
        """Whether runs of every user may be read."""
        return self.role == "admin" and "admin" in self.scopes

    @property
    def sees_own(self) -> bool:
        """Whether this is a person, with runs of their own."""
        return self.role in ("admin", "user")

    @property
    def may_ingest(self) -> bool:
        """Whether events of every user may be delivered."""
        return self.role in ("admin", "node") and "ingest" in self.scopes
