"""Writers: the spool files of runs, and how far each is stored."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.tables import Writer


def lock(session: Session, run_id: str, name: str) -> Writer:
    """The writer, locked until the transaction ends; made if there is none."""
    query = select(Writer).where(Writer.run_id == run_id, Writer.name == name).with_for_update()
    writer = session.scalar(query)
    if writer is None:
        writer = Writer(run_id=run_id, name=name, offset_bytes=0, next_step=0, rejected_lines=0, rank=0)
        session.add(writer)
        session.flush()
    return writer
