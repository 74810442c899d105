"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """A person or a node. Roles: `admin` sees all runs, `user` their own, `node` may only ingest (so may an admin)."""

    user: str
    role: str

    @property
    def sees_all(self) -> bool:
        """Whether runs of every user may be read."""
        return self.role == "admin"

    @property
    def sees_own(self) -> bool:
        """Whether this is a person, with runs of their own."""
        return self.role in ("admin", "user")

    @property
    def may_ingest(self) -> bool:
        """Whether events of every user may be delivered."""
        return self.role in ("admin", "node")
