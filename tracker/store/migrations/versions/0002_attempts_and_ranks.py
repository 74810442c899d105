"""Attempts and ranks of writers, and whose a summary's last point is

Of what is stored already nothing tells in which attempt a file was written. A run of one attempt needs no telling; of a
requeued run the times of a file's first points do.
"""

import struct
import zlib
from itertools import groupby
from operator import itemgetter

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.add_column("writers", sa.Column("kind", sa.String(8), nullable=False, server_default="script"))
    op.add_column("writers", sa.Column("restarts", sa.BigInteger()))
    op.add_column("writers", sa.Column("first_step", sa.BigInteger()))
    for name in ("last_restarts", "last_rank", "last_time_us"):
        op.add_column("summaries", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    has_points = "EXISTS (SELECT 1 FROM segments s WHERE s.run_id = writers.run_id AND s.writer = writers.name)"
    op.execute(f"UPDATE writers SET restarts = 0, first_step = 0 WHERE {has_points}")
    _tell_attempts_of_requeued_runs(op.get_bind())
    _tell_whose_the_last_points_are()


def _tell_attempts_of_requeued_runs(connection: sa.Connection) -> None:
    requeued = "SELECT run_id FROM attempts GROUP BY run_id HAVING count(*) > 1"
    starts = connection.execute(
        sa.text(f"SELECT run_id, started_at, number FROM attempts WHERE run_id IN ({requeued}) ORDER BY 1, 3")
    )
    for run_id, attempts in groupby(starts.all(), itemgetter(0)):
        begun = [(started_us or 0, number - 1) for _, started_us, number in attempts]
        for writer, (first_us, first_step) in _first_points(connection, run_id).items():
            # Slurm's times are whole seconds and clocks differ a little.
            restarts = max((restarts for start, restarts in begun if start <= first_us + 2_000_000), default=0)
            connection.execute(
                sa.text("UPDATE writers SET restarts = :r, first_step = :s WHERE run_id = :run AND name = :name"),
                {"r": restarts, "s": first_step, "run": run_id, "name": writer},
            )


def _first_points(connection: sa.Connection, run_id: str) -> dict[str, tuple[int, int]]:
    """Of each writer the time (microseconds since 1970) and the step of its first points."""
    query = sa.text("SELECT writer, times, steps FROM segments WHERE run_id = :run AND number = 0")
    found: dict[str, tuple[int, int]] = {}
    for writer, times, steps in connection.execute(query, {"run": run_id}):
        first = (_first(times), _first(steps))
        found[writer] = min(found.get(writer, first), first)
    return found


def _first(packed: bytes) -> int:
    """The first number of a column: little-endian differences, zlib-compressed."""
    (number,) = struct.unpack_from("<q", zlib.decompress(packed))
    return int(number)


def _tell_whose_the_last_points_are() -> None:
    mine = "s.run_id = summaries.run_id AND s.metric = summaries.metric AND w.run_id = s.run_id AND w.name = s.writer"
    newest = f"SELECT max(w.restarts) FROM segments s, writers w WHERE {mine}"
    lowest = f"SELECT min(w.rank) FROM segments s, writers w WHERE {mine} AND w.restarts = summaries.last_restarts"
    op.execute(f"UPDATE summaries SET last_restarts = coalesce(({newest}), 0)")
    op.execute(f"UPDATE summaries SET last_rank = coalesce(({lowest}), 0)")


def downgrade() -> None:
    """Go back to the form before."""
    for name in ("last_time_us", "last_rank", "last_restarts"):
        op.drop_column("summaries", name)
    for name in ("first_step", "restarts", "kind"):
        op.drop_column("writers", name)
