"""Groups of runs that have values in common."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from tracker.errors import BadFilter
from tracker.store import runs as store
from tracker.store.search import groups as grouping
from tracker.store.search.language import Field as Named
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import Key, Number, RunsAsked, Text, Told
from web.api.runs import filtered
from web.context import db, viewer

groups = Blueprint("groups", __name__)


class GroupsQuery(RunsAsked):
    """Which runs, and by what they are grouped: up to three fields such as `params.lr, tags.stage`.

    `metric` is the one to tell of each group, `figure` the one of its summary that is a run's value.
    """

    group_by: Text
    metric: Key | None = None
    figure: Literal["last", "min", "max", "mean"] = "last"
    limit: Annotated[int, Field(ge=1, le=500)] = 200

    def named(self) -> Named | None:
        """The metric as a field."""
        return Named("metrics", self.metric, self.figure, 1) if self.metric else None


class Figures(Told):
    """Of `count` values the mean, the sample standard deviation, the least and the greatest; null if there are none."""

    count: int
    mean: Number | None
    std: Number | None
    min: Number | None
    max: Number | None


class Group(Told):
    """Runs with the same values. `key`: of each field the value (its first 64 characters), or null if they lack it.

    `filter` finds these runs among those asked for. `values` are over the runs, each with its chosen figure of the
    metric, `points` over all points of the metric in all of them.
    """

    key: list[str | None]
    filter: str
    runs: int
    values: Figures | None
    points: Figures | None


class GroupList(BaseModel):
    """Groups, the largest first. `complete`: there are no others."""

    items: list[Group]
    complete: bool


@groups.get("/runs:groups")
@described(GroupList, query=GroupsQuery, errors=(BadFilter,))
def show() -> ResponseReturnValue:
    """Runs that fit all that is asked, grouped by what they have in common."""
    asked = read_query(GroupsQuery)
    by = grouping.fields(asked.group_by)
    with db().read() as session:
        found = store.groups(session, viewer(), by, asked.named(), **filtered(asked), limit=asked.limit + 1)
    items = [Group.model_validate(one) for one in found[: asked.limit]]
    return answer(GroupList(items=items, complete=len(found) <= asked.limit))
