"""Attributes of runs that filters and orders may name."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, func, literal, select, type_coerce

from tracker.errors import BadFilter
from tracker.states import STATES
from tracker.store.search.language import Compared, Field
from tracker.store.tables import Attempt, Experiment, Run

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MLFLOW_STATES = {"FINISHED": "COMPLETED", "KILLED": "CANCELLED", "SCHEDULED": "PENDING"}
_MICROSECONDS = 1_000_000
_LONGEST_S = 9e12  # in microseconds the databases' integers still hold it
MOST_EXACT = 2.0**53


@dataclass(frozen=True)
class Attribute:
    """A column of runs: its SQL at a moment, and how a value that it is compared with is read."""

    sql: Callable[[datetime], ColumnElement[Any]]
    read: Callable[[Compared, datetime], Any]


def attribute(field: Field) -> Attribute:
    """The attribute of that name. Raises BadFilter with the names that there are."""
    found = _ATTRIBUTES.get(field.name.lower())
    if found is None:
        near = difflib.get_close_matches(field.name.lower(), _ATTRIBUTES, 1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        known = ", ".join(sorted(_OWN))
        raise BadFilter(f"At column {field.column}: runs have no `{field.name[:40]}`.{hint} They have {known}.")
    return found


def number(compared: Compared) -> float:
    """The value as a number. Raises BadFilter."""
    if isinstance(compared.value, float):
        return compared.value
    try:
        return float(compared.value)
    except ValueError:
        raise _unusable(compared, "a number") from None


def _number(compared: Compared, _now: datetime) -> float:
    value = number(compared)
    if not math.isfinite(value):
        raise _unusable(compared, "a finite number")
    return value


def text(compared: Compared) -> str:
    """The value as a text; a number without quotes in its shortest form."""
    value = compared.value
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < MOST_EXACT else repr(value)
    return value


def _text(compared: Compared, _now: datetime) -> str:
    return text(compared)


def _state(compared: Compared, _now: datetime) -> str:
    word = _text(compared, _now).upper()
    word = _MLFLOW_STATES.get(word, word)
    if word not in STATES:
        raise _unusable(compared, f"a state ({', '.join(STATES)})")
    return word


def _moment(compared: Compared, now: datetime) -> datetime:
    """A moment: ISO 8601 (UTC where no zone is given), `-7d` before now, or MLflow's milliseconds since 1970."""
    value = compared.value
    try:
        if isinstance(value, float):
            return datetime.fromtimestamp(value / 1000, tz=timezone.utc)
        ago = re.fullmatch(r"-(\d{1,6})([smhdw])", value)
        if ago:
            return now - timedelta(seconds=int(ago[1]) * _UNITS_S[ago[2]])
        at = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise _unusable(compared, "a moment such as 2026-01-31, 2026-01-31T14:00Z or -7d") from None


def _seconds(compared: Compared, _now: datetime) -> int:
    value = compared.value
    long = re.fullmatch(r"(\d{1,6})([smhdw])", value) if isinstance(value, str) else None
    seconds = int(long[1]) * _UNITS_S[long[2]] if long else _number(compared, _now)
    return round(min(max(seconds, -_LONGEST_S), _LONGEST_S) * _MICROSECONDS)


def _unusable(compared: Compared, wanted: str) -> BadFilter:
    given = str(compared.value)[:40]
    return BadFilter(f"At column {compared.field.column}: `{compared.field.name}` is {wanted}, not `{given}`.")


def _column(name: str, read: Callable[[Compared, datetime], Any]) -> Attribute:
    return Attribute(lambda _now: getattr(Run, name), read)


def _experiment(_now: datetime) -> ColumnElement[Any]:
    return select(Experiment.name).where(Experiment.id == Run.experiment_id).scalar_subquery()


def _attempts(_now: datetime) -> ColumnElement[Any]:
    return select(func.count()).where(Attempt.run_id == Run.id).scalar_subquery()


def _duration(now: datetime) -> ColumnElement[Any]:
    """Microseconds from the start to the end, or until now."""
    start, end = type_coerce(Run.started_at, BigInteger), type_coerce(Run.ended_at, BigInteger)
    return func.coalesce(end, literal(round(now.timestamp() * _MICROSECONDS), BigInteger)) - start


_OWN = {
    **{name: _column(name, _text) for name in ("id", "name", "user", "account", "partition", "state_source", "reason")},
    **{name: _column(name, _text) for name in ("cluster", "work_dir", "command")},
    **{name: _column(name, _number) for name in ("job_id", "array_job_id", "array_task_id", "het_job_id")},
    **{name: _column(name, _number) for name in ("exit_code", "signal", "restarts", "gpus_requested", "time_limit_s")},
    **{name: _column(name, _moment) for name in ("created_at", "updated_at", "submitted_at", "started_at", "ended_at")},
    "state": _column("state", _state),
    "experiment": Attribute(_experiment, _text),
    "attempts": Attribute(_attempts, _number),
    "duration": Attribute(_duration, _seconds),
}
_OF_MLFLOW = {
    "run_id": _OWN["id"], "run_name": _OWN["name"], "user_id": _OWN["user"], "status": _OWN["state"],
    "created": _OWN["created_at"], "start_time": _OWN["started_at"], "end_time": _OWN["ended_at"],
}  # fmt: skip
_ATTRIBUTES = {**_OWN, **_OF_MLFLOW}
