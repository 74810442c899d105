"""Which runs fit, in an order, page by page.

Where an index finds few runs that may fit, they are looked at and sorted. Else the order is walked along an index, and
each run that comes is looked at, until the page is full; that is quick because many fit. Which of the two it is we
count ourselves: PostgreSQL guesses, and SQLite does not even guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, select, type_coerce
from sqlalchemy.orm import Session

from tracker.store.search import candidates, conditions
from tracker.store.search.candidates import Way
from tracker.store.search.language import Condition, Order
from tracker.store.search.orders import Place, Sorting
from tracker.store.search.walks import walks
from tracker.store.tables import Run


class Search:
    """Runs that fit conditions on `Run`, for which indexes have these ways, and a filter."""

    def __init__(
        self, allowed: Sequence[ColumnElement[bool]], ways: Sequence[Way], where: Condition | None, now: datetime
    ) -> None:
        """Raises BadFilter for a field that runs do not have."""
        self.fits = and_(*allowed) if where is None else and_(*allowed, conditions.where(where, now))
        self._ways = [*ways, *(candidates.ways(where, now) if where is not None else ())]
        self._where, self._now = where, now

    def page(
        self, session: Session, orders: Sequence[Order], limit: int, cursor: str | None
    ) -> tuple[list[str], str | None]:
        """The ids of at most `limit` runs, and the cursor of the next page; None on the last.

        Raises BadInput for a cursor that is not ours, BadFilter for a field that runs do not have.
        """
        sorting = Sorting(orders, self._now)
        place = sorting.read(cursor) if cursor else None
        found = list(self._places(session, sorting, place, limit + 1))
        next_cursor = sorting.cursor_at(found[limit - 1]) if len(found) > limit else None
        return [one[-1] for one in found[:limit]], next_cursor

    def _places(self, session: Session, sorting: Sorting, place: Place | None, limit: int) -> Iterator[Place]:
        # Rows of runs are read once: not to find few, and then again in their own order.
        by_rows = sorting.orders[0].field.kind == "attributes"
        few = candidates.few(session, [way for way in self._ways if not (by_rows and way.scans)])
        if few is not None or len(sorting.orders) > 1:
            looked_at = self._among(session, few)
            yield from map(tuple, session.execute(_sorted(sorting, looked_at, place).limit(limit)))
            return
        for walk in walks(sorting, self.fits, self._where):
            query = walk.query(place, limit) if limit else None
            found = [] if query is None else session.execute(query).all()
            limit -= len(found)
            yield from (walk.place(*row) for row in found)

    def looked_at(self, session: Session) -> ColumnElement[bool]:
        """The condition that a run is found, for whoever wants all of them."""
        return self._among(session, candidates.few(session, [way for way in self._ways if not way.scans]))

    def _among(self, session: Session, few: Select[Any] | None) -> ColumnElement[bool]:
        return self.fits if few is None else and_(candidates.looked_up(session, few), self.fits)


def _sorted(sorting: Sorting, fits: ColumnElement[bool], place: Place | None) -> Select[Any]:
    """All that fit, sorted."""
    keys = (key.sql.label(f"key_{number}") for number, key in enumerate(sorting.keys))
    found = select(*keys, type_coerce(Run.id, String).label("id")).where(fits).offset(0).subquery()
    columns = list(found.c)
    query = select(*columns).order_by(*sorting.clauses(columns))
    return query if place is None else query.where(sorting.beyond(columns, place))
