"""GPUs over time: who had which one when, and GPU-hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from tracker.errors import BadInput
from tracker.store import gpu_hours
from tracker.store import gpus as store
from tracker.store.gpus import Asked as AskedGpus
from tracker.store.gpus import Holding as Held
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import Asked, PageQuery, Past, Text, Time
from web.context import db, now, viewer

gpus = Blueprint("gpus", __name__)

USUAL_WINDOW = timedelta(days=30)
_Index = Annotated[int, Field(ge=0, lt=10_000)]


class GpusQuery(PageQuery):
    """Which GPUs, and when: `at` a moment, or `from` and `to`, of which either may be left out.

    `index` is Slurm's on the node, `uuid` that of a GPU or of a part of one (MIG).
    """

    cluster: Text | None = None
    node: Text | None = None
    index: _Index | None = None
    uuid: Text | None = None
    at: Past | None = None
    since: Past | None = Field(None, alias="from")
    until: Past | None = Field(None, alias="to")

    def wanted(self) -> AskedGpus:
        """The same for the store. Raises BadInput."""
        if self.at is not None and (self.since or self.until):
            raise BadInput("`at` is a moment; a time is asked for with `from` and `to`.")
        since, until = ordered(self.at or self.since, self.at or self.until)
        return AskedGpus(self.cluster, self.node, self.index, self.uuid, since, until)


class Holding(BaseModel):
    """Who had a GPU, from when to when; `to` is null while it is held.

    `index` is Slurm's on the node. `mig` is the UUID of the part that was held of a GPU that is split, `shards`
    how many shares of GPUs the attempt held in place of whole ones. `state` is the attempt's.
    """

    model_config = ConfigDict(serialize_by_alias=True)
    cluster: str | None
    node: str
    index: int
    uuid: str | None
    mig: str | None
    type: str | None
    shards: int | None
    since: Time | None = Field(alias="from")
    until: Time | None = Field(alias="to")
    run: str
    attempt: int
    state: str
    job_id: int | None
    array_job_id: int | None
    array_task_id: int | None
    name: str | None
    user: str | None
    account: str | None
    experiment: str

    @classmethod
    def of(cls, held: Held) -> Holding:
        """The holding as the store has it."""
        told = held._asdict()
        since, until, run = (told.pop(name) for name in ("started_at", "ended_at", "run_id"))
        return cls.model_validate({**told, "from": since, "to": until, "run": run})


class HoldingList(BaseModel):
    """Who had GPUs, the last one to get one first."""

    items: list[Holding]
    next_cursor: str | None


class HoursQuery(Asked):
    """From when to when (the last 30 days), and what the runs have in common."""

    by: Literal["user", "account", "experiment", "state"] = "user"
    since: Past | None = Field(None, alias="from")
    until: Past | None = Field(None, alias="to")


class Hours(BaseModel):
    """What the attempts of a key come to in that time; the key is null where nobody told it.

    `gpu_hours` count as sacct does, without the time in which a job was suspended; that is in `suspended_gpu_hours`.
    `shard_hours` are of shares of GPUs, which are not among `gpu_hours`.
    """

    model_config = ConfigDict(from_attributes=True)
    key: str | None
    gpu_hours: float
    suspended_gpu_hours: float
    shard_hours: float
    attempts: int


class HoursList(BaseModel):
    """GPU-hours, the most first, and of all of them together."""

    model_config = ConfigDict(serialize_by_alias=True)
    items: list[Hours]
    total: Hours
    since: Time = Field(alias="from")
    until: Time = Field(alias="to")


def ordered(since: datetime | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    """Both. Raises BadInput when the end comes first."""
    if since and until and until < since:
        raise BadInput("`to` is before `from`.")
    return since, until


@gpus.get("/gpus")
@described(HoldingList, query=GpusQuery)
def find() -> ResponseReturnValue:
    """Who had which GPU when, the last one to get one first."""
    asked = read_query(GpusQuery)
    wanted = asked.wanted()
    with db().read() as session:
        page = store.find(session, viewer(), wanted, limit=asked.limit, cursor=asked.cursor)
    return answer(HoldingList(items=[Holding.of(one) for one in page.items], next_cursor=page.next_cursor))


@gpus.get("/gpu-hours")
@described(HoursList, query=HoursQuery)
def hours() -> ResponseReturnValue:
    """GPU-hours of runs, by what they have in common."""
    asked = read_query(HoursQuery)
    until = asked.until or now()
    since = asked.since or until - USUAL_WINDOW
    ordered(since, until)
    with db().read() as session:
        found = gpu_hours.read(session, viewer(), asked.by, gpu_hours.Window(since, until, now()))
    items, total = [Hours.model_validate(one) for one in found], Hours.model_validate(gpu_hours.total(found))
    return answer(HoursList.model_validate({"items": items, "total": total, "from": since, "to": until}))
