"""What the API takes and gives. Times are ISO 8601 in UTC; lists are `items` with the cursor of the next page.

JSON has no word for numbers that are not finite: they are the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from tracker.states import STATES
from tracker.store import attempts, charts, tables
from tracker.store.curves import Curve
from tracker.store.experiments import ExperimentSummary
from tracker.store.logs import LogTail
from tracker.store.runs import Page


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _utc(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


Text = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=1000)]
Key = Annotated[str, Field(pattern=r"^[^\x00]+$", max_length=512)]
Number = Annotated[float, PlainSerializer(_number, return_type=float | str)]
Time = Annotated[datetime, PlainSerializer(_utc, return_type=str)]
State = Literal[STATES]  # type: ignore[valid-type]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PageQuery(_Asked):
    """Which part of a list."""

    limit: int = Field(50, ge=1, le=500)
    cursor: Text | None = None


class RunsQuery(PageQuery):
    """Which runs, and in which order.

    `state` may be repeated, `q` looks into names and ids, `filter` and `order_by` are told in docs/filters.md.
    """

    experiment: Text | None = None
    user: Text | None = None
    state: list[State] = Field(default=[], max_length=len(STATES))
    q: Text | None = None
    filter: Annotated[str, Field(max_length=4000)] | None = None
    order_by: Text | None = None


class SeriesQuery(_Asked):
    """Which series, over what, and how fine."""

    metric: Key
    x: Literal["step", "time"] = "step"
    max_points: int = Field(1000, ge=2, le=100_000)
    rank: Annotated[int, Field(ge=0, le=2**31)] | Literal["all", "mean"] | None = None
    attempts: Literal["last", "all"] = "last"


class LogQuery(_Asked):
    """Which output stream, how many lines of its end, and whether as a terminal would show them, in plain text."""

    stream: Literal["stdout", "stderr"] = "stdout"
    tail: int = Field(200, ge=1, le=100_000)
    format: Literal["json", "text"] = "json"


class NoQuery(_Asked):
    """No query parameter."""


class RunChange(_Asked):
    """What to change of a run: a new name, tags to set; other tags stay."""

    name: Text | None = None
    tags: dict[Key, Text] = Field(default={}, max_length=1000)


class Gpu(BaseModel):
    """A GPU that an attempt held; `index` is Slurm's on the node."""

    model_config = ConfigDict(from_attributes=True)
    node: str
    index: int
    uuid: str | None
    type: str | None


class Attempt(BaseModel):
    """One allocation of a run, with the names of its nodes."""

    model_config = ConfigDict(from_attributes=True)
    number: int
    started_at: Time | None
    ended_at: Time | None
    state: str
    nodes: Annotated[list[str], BeforeValidator(attempts.node_names)]
    gpus: list[Gpu]


class Summary(BaseModel):
    """What all points of a metric come to. `min`, `max` and `mean` are of finite values, null if there is none."""

    last: Number
    last_step: int
    min: Number | None
    max: Number | None
    mean: Number | None
    count: int

    @classmethod
    def of(cls, stored: tables.Summary) -> Summary:
        """The summary as the store has it."""
        return cls(
            last=math.nan if stored.last is None else stored.last,
            last_step=stored.last_step,
            min=stored.min,
            max=stored.max,
            mean=stored.total / stored.finite_count if stored.finite_count else None,
            count=stored.count,
        )


class Run(BaseModel):
    """A run. `state_source` says who told the state: only `accounting` is final word.

    `parent_id` is the run of the job in which a script began this one beside it.
    """

    id: str
    parent_id: str | None
    experiment: str
    name: str | None
    user: str | None
    state: str
    state_source: str
    reason: str | None
    cluster: str | None
    job_id: int | None
    array_job_id: int | None
    array_task_id: int | None
    het_job_id: int | None
    submitted_at: Time | None
    started_at: Time | None
    ended_at: Time | None
    exit_code: int | None
    signal: int | None
    params: dict[str, str]
    tags: dict[str, str]
    summary: dict[str, Summary]
    attempts: list[Attempt]

    @classmethod
    def of(cls, stored: tables.Run) -> Run:
        """The run as the store has it."""
        made = {"experiment", "params", "tags", "summary", "attempts"}
        return cls(
            **{name: getattr(stored, name) for name in cls.model_fields if name not in made},
            experiment=stored.experiment.name,
            params={one.key: one.value for one in stored.params},
            tags={one.key: one.value for one in stored.tags},
            summary={one.metric: Summary.of(one) for one in stored.summary},
            attempts=[Attempt.model_validate(one) for one in stored.attempts],
        )


class RunList(BaseModel):
    """Runs, newest first."""

    items: list[Run]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page) -> RunList:
        """The page as the store has it."""
        return cls(items=[Run.of(run) for run in page.items], next_cursor=page.next_cursor)


class Watched(BaseModel):
    """A cluster: when its watcher last heard from Slurm, and what is wrong since."""

    model_config = ConfigDict(from_attributes=True)
    name: str
    as_of: Time | None
    problem: str | None


class JobList(RunList):
    """The queue: runs that have not ended. `as_of`: no cluster's news are older."""

    as_of: Time | None
    clusters: list[Watched]

    @classmethod
    def seen(cls, page: Page, clusters: list[tables.Cluster]) -> JobList:
        """The queue as the store has it."""
        return cls(**RunList.of(page).__dict__, as_of=_oldest(clusters), clusters=_watched(clusters))


class Node(BaseModel):
    """A node of a cluster; `gpus_used` of its `gpus` are held by jobs."""

    model_config = ConfigDict(extra="ignore")
    cluster: str
    name: str
    state: str
    reason: str | None = None
    cpus: int = 0
    cpus_alloc: int = 0
    memory_mb: int = 0
    memory_alloc_mb: int = 0
    gpus: int = 0
    gpus_used: int = 0
    partitions: list[str] = []


class NodeList(BaseModel):
    """All nodes. `as_of`: no cluster's news are older."""

    items: list[Node]
    next_cursor: str | None = None
    as_of: Time | None
    clusters: list[Watched]

    @classmethod
    def of(cls, clusters: list[tables.Cluster]) -> NodeList:
        """The clusters as the store has them."""
        items = [Node(cluster=cluster.name, **node) for cluster in clusters for node in cluster.nodes]
        return cls(items=items, as_of=_oldest(clusters), clusters=_watched(clusters))


def _oldest(clusters: Iterable[tables.Cluster]) -> datetime | None:
    times = [cluster.as_of for cluster in clusters]
    known = [time for time in times if time is not None]
    return min(known) if known and len(known) == len(times) else None


def _watched(clusters: Iterable[tables.Cluster]) -> list[Watched]:
    return [Watched.model_validate(cluster) for cluster in clusters]


class Experiment(BaseModel):
    """An experiment and how many of its runs may be seen."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    name: str
    created_at: Time
    run_count: int
    last_run_at: Time | None


class ExperimentList(BaseModel):
    """Experiments, the one with the newest run first."""

    items: list[Experiment]
    next_cursor: str | None = None

    @classmethod
    def of(cls, found: list[ExperimentSummary]) -> ExperimentList:
        """The experiments as the store has them."""
        return cls(items=[Experiment.model_validate(one) for one in found])


class _Drawn(BaseModel):
    """What leaves out of its answer the fields that are None by default and were not set."""

    @model_serializer(mode="wrap")
    def _what_is_told(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        optional = {name for name, field in type(self).model_fields.items() if not field.is_required()}
        return {name: value for name, value in dump(self).items() if value is not None or name not in optional}


def _columns(curve: Curve) -> dict[str, list[float]]:
    columns = {"x": curve.x, "y": curve.y, "min": curve.low, "max": curve.high}
    return {name: column.tolist() for name, column in columns.items() if column is not None}


class Line(_Drawn):
    """One line of a chart: of a rank, or of a node's machine (`rank` is null), in an attempt.

    Of a mean both are null, and it has `min` and `max`.
    """

    rank: int | None
    attempt: int
    node: str | None
    x: list[float]
    y: list[Number]
    count: int
    min: list[Number] | None = None
    max: list[Number] | None = None

    @classmethod
    def of(cls, line: charts.Line) -> Line:
        """The line as the store has it."""
        return cls(rank=line.rank, attempt=line.attempt, node=line.node, count=line.count, **_columns(line.curve))


class Chart(_Drawn):
    """A series: `x` are steps, or seconds since 1970; of `count` points fewer are here if `downsampled`.

    `hidden`: so many points of earlier attempts were taken back by later ones; `attempts=all` shows them. Only a mean
    has `min` and `max`, over so many `ranks`. `lines` come with `rank=all`, `attempts=all` and from machines.
    """

    metric: str
    x: list[float]
    y: list[Number]
    count: int
    downsampled: bool
    hidden: int
    min: list[Number] | None = None
    max: list[Number] | None = None
    ranks: int | None = None
    lines: list[Line] | None = None
    lines_left_out: int | None = None

    @classmethod
    def of(cls, metric: str, chart: charts.Chart) -> Chart:
        """The chart as the store has it."""
        lines = None if chart.lines is None else [Line.of(line) for line in chart.lines]
        return cls(
            metric=metric, count=chart.count, downsampled=chart.downsampled, hidden=chart.hidden, ranks=chart.ranks,
            lines=lines, lines_left_out=None if lines is None else chart.lines_left_out, **_columns(chart.curve),
        )  # fmt: skip


class LogEnd(BaseModel):
    """The end of an output stream; `complete` when no more will come, `truncated` when there was more before it.

    `left_out_bytes` of the stream came too fast; a line in the text stands where they were.
    """

    model_config = ConfigDict(from_attributes=True)
    text: str
    path: str
    complete: bool
    problem: str | None
    truncated: bool
    left_out_bytes: int

    @classmethod
    def of(cls, tail: LogTail) -> LogEnd:
        """The end as the store has it."""
        return cls.model_validate(tail)
