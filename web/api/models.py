"""What several parts of the API take and give.

Times are ISO 8601 in UTC; lists are `items` with the cursor of the next page. JSON has no word for numbers that
are not finite: they are the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from typing_extensions import TypedDict  # as pydantic wants it before Python 3.12

from tracker.actions.explain import explain
from tracker.actions.read_values import MAX_NAME_CHARS, MAX_TEXT_CHARS, MAX_TIME_S
from tracker.states import STATES
from tracker.store import attempts, tables
from tracker.store.exact import INT64
from tracker.store.runs import Page

_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?\d*)?(Z|[+-]\d\d:\d\d)?\Z", re.IGNORECASE)


def _utc(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _a_number(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise ValueError("it must be a number")


def _a_figure(value: Any) -> Any:
    """A number, as the spool's lines take them: a whole one of 64 bits stays exact, a greater one is rounded."""
    number = _a_number(value)
    try:
        rounded = float(number)
    except OverflowError:
        rounded = math.inf
    if not math.isfinite(rounded):
        raise ValueError("it must be finite, or one of these words")
    return number if isinstance(number, int) and number in INT64 else rounded


def _a_moment(value: Any) -> datetime:
    if not isinstance(value, str) or not _ISO_8601.match(value):
        raise ValueError('it must be a moment such as "2026-01-31T14:00:00Z"')
    moment = datetime.fromisoformat(value.upper().replace("Z", "+00:00"))
    moment = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment
    if not 0 <= moment.timestamp() <= MAX_TIME_S:
        raise ValueError("it must be between 1970 and 9999")
    return moment


Text = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=1000)]
Key = Annotated[str, Field(pattern=r"^[^\x00]+$", max_length=512)]
_WORDS = ["NaN", "Infinity", "-Infinity"]
_IS_NUMBER = WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": _WORDS}]}, mode="serialization")
Number = Annotated[float, _IS_NUMBER]
"""Of models that are `Told`, which write these words."""
Exact = Annotated[int | float, _IS_NUMBER]
"""The same with all of its digits: a whole one that is no float64, too."""
Time = Annotated[
    datetime,
    PlainSerializer(_utc, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
State = Literal[STATES]  # type: ignore[valid-type]

Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=MAX_NAME_CHARS)]
"""What people call a thing: a line of text."""
Sentence = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=MAX_NAME_CHARS)]
LongText = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=MAX_TEXT_CHARS)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1), BeforeValidator(_a_number)]
Step = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), BeforeValidator(_a_number)]
Figure = (
    Annotated[int | float, BeforeValidator(_a_figure), WithJsonSchema({"type": "number"})]
    | Literal["NaN", "Infinity", "-Infinity"]
)
Past = Annotated[datetime, BeforeValidator(_a_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment since 1970, as ISO 8601; in UTC unless it names a zone."""


class Asked(BaseModel):
    """What is asked for or sent; what is not named here is refused."""

    model_config = ConfigDict(extra="forbid")


class Told(BaseModel):
    """What is answered, read from things of the store. Numbers that are not finite are told in words."""

    model_config = ConfigDict(from_attributes=True, ser_json_inf_nan="strings")


class PageQuery(Asked):
    """Which part of a list."""

    limit: int = Field(50, ge=1, le=500)
    cursor: Text | None = None


class RunsAsked(Asked):
    """Which runs: `state` may be repeated, `q` looks into names and ids, `filter` is told in docs/filters.md."""

    experiment: Text | None = None
    user: Text | None = None
    state: list[State] = Field(default=[], max_length=len(STATES))
    q: Text | None = None
    filter: Annotated[str, Field(max_length=4000)] | None = None


class RunsQuery(PageQuery, RunsAsked):
    """Which runs, and in which order.

    `state` may be repeated, `q` looks into names and ids, `filter` and `order_by` are told in docs/filters.md.
    """

    order_by: Text | None = None


class NoQuery(Asked):
    """No query parameter."""


class Counted(BaseModel):
    """How many there were."""

    count: int


class Gpu(TypedDict):
    """A GPU that an attempt held; `index` is Slurm's on the node.

    `mig` is the UUID of the part that it held of a GPU that is split.
    """

    node: str
    index: int
    uuid: str | None
    type: str | None
    mig: str | None
    started_at: Time | None
    ended_at: Time | None


class Attempt(TypedDict):
    """One allocation of a run, with the names of its nodes.

    `gpu_count`: how many GPUs Slurm counted, `shards`: how many shares of shared ones; `gpus` are those of which hooks
    told. `suspended_s`: as accounting says.
    """

    number: int
    started_at: Time | None
    ended_at: Time | None
    state: str
    nodes: list[str]
    gpu_count: int | None
    shards: int | None
    suspended_s: int | None
    gpus: list[Gpu]


class Summary(TypedDict):
    """What all points of a metric come to. `min`, `max` and `mean` are of finite values, null if there is none."""

    last: Number
    last_step: int
    min: Number | None
    max: Number | None
    mean: Number | None
    count: int


class Run(Told):
    """A run. `state_source` says who told the state: only `accounting` is final word.

    `reason` is Slurm's word; `explanation` says in plain words why it waits, or how it ended badly and what to change.

    `parent_id` is the run of the job in which a script began this one beside it. `points_kept`: of the points that
    `summary` counts `all` are kept, or retention `thinned` them to 1,000 a series, or `none` are left.
    """

    id: str
    parent_id: str | None
    experiment: str
    name: str | None
    user: str | None
    state: str
    state_source: str
    reason: str | None
    explanation: str | None
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
    points_kept: str
    params: dict[str, str]
    tags: dict[str, str]
    summary: dict[str, Summary]
    attempts: list[Attempt]

    @classmethod
    def of(cls, stored: tables.Run, output: str = "") -> Run:
        """The run as the store has it; `output` is the end of what it printed, which its explanation may quote.

        Nothing is looked at twice, for a page has thousands of figures.
        """
        return cls.model_construct(
            **{name: getattr(stored, name) for name in _COLUMNS},
            explanation=str(explain(stored, output)) or None,
            experiment=stored.experiment.name,
            params={one.key: one.value for one in stored.params},
            tags={one.key: one.value for one in stored.tags},
            summary={one.metric: _summary(one) for one in stored.summary},
            attempts=[_attempt(one) for one in stored.attempts],
        )


_MADE = {"explanation", "experiment", "params", "tags", "summary", "attempts"}
_COLUMNS = [name for name in Run.model_fields if name not in _MADE]


def _summary(stored: tables.Summary) -> Summary:
    return {
        "last": math.nan if stored.last is None else stored.last, "last_step": stored.last_step,
        "min": stored.min, "max": stored.max,
        "mean": stored.total / stored.finite_count if stored.finite_count else None, "count": stored.count,
    }  # fmt: skip


def _attempt(stored: tables.Attempt) -> Attempt:
    gpus = [Gpu(**{name: getattr(one, name) for name in Gpu.__annotations__}) for one in stored.gpus]  # type: ignore[typeddict-item]
    return {
        "number": stored.number, "started_at": stored.started_at, "ended_at": stored.ended_at, "state": stored.state,
        "nodes": attempts.node_names(stored.nodes), "gpu_count": stored.gpu_count,
        "shards": stored.shards, "suspended_s": stored.suspended_s, "gpus": gpus,
    }  # fmt: skip


class RunList(Told):
    """Runs, newest first."""

    items: list[Run]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page) -> RunList:
        """The page as the store has it."""
        return cls.model_construct(items=[Run.of(run) for run in page.items], next_cursor=page.next_cursor)
