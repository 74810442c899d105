"""Commands that read what was tracked, through the API: tables for people, `--json` for programs."""

from __future__ import annotations

import json
import math
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from tracker.cli.job_read import in_the_queue, job_read
from tracker.client.reading import Api, Run
from tracker.errors import BadInput
from tracker.states import FINAL_STATES

if TYPE_CHECKING:
    from rich.text import Text

_COLOURS = {"COMPLETED": "green", "RUNNING": "cyan", "PENDING": "yellow", "SUSPENDED": "yellow"}
_MOST_METRICS = 4
_FOLLOW_EVERY_S = 1.0

as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command("ls")
@click.argument("filter", required=False)
@click.option("--order", metavar="FIELDS", help="Such as `min(metrics.loss)` or `started_at desc`; else newest first.")
@click.option("--experiment", metavar="NAME", help="Of this experiment.")
@click.option("--user", metavar="NAME", help="Of this user.")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@as_json
def list_runs(
    filter: str | None, order: str | None, experiment: str | None, user: str | None, limit: int, as_json: bool
) -> None:
    """List runs that fit FILTER, newest first.

    \b
    tracker ls
    tracker ls 'metrics.loss < 0.3 and params.lr = 0.01' --order metrics.loss
    tracker ls 'state in (FAILED, TIMEOUT) and started_at > "-7d"' --json
    """
    try:
        runs = list(Api().runs(filter, order_by=order, experiment=experiment, user=user, limit=limit))
    except BadInput as problem:
        raise BadInput(f"{problem}{_pointed_at(str(problem), filter, order)}") from None
    if as_json:
        _print_json([run.facts for run in runs])
        return
    if not runs:
        click.echo("No run fits.", err=True)
        return
    rows = ([_state(run), _name(run), run.experiment, run.user, _job(run), _took(run), _last(run)] for run in runs)
    print_table(["state", "name", "experiment", "user", "job", "time", "last metrics"], rows)


@click.command()
@click.argument("run")
@as_json
def show(run: str, as_json: bool) -> None:
    """Show one run, by its id or its job such as dev:12 or dev:12_3."""
    found = Api().run(run)
    if as_json:
        _print_json(found.facts)
        return
    facts = {
        "run": found.id, "name": found.name, "experiment": found.experiment, "user": found.user, "job": _job(found),
        "state": _state(found), "told by": found.state_source, "why": found.facts.get("explanation"),
        "submitted": found.submitted_at, "started": found.started_at, "ended": found.ended_at, "time": _took(found),
        "exit code": found.exit_code, "signal": found.signal,
        "nodes": " ".join(sorted({node for one in found.attempts for node in one["nodes"]})),
        "attempts": len(found.attempts),
    }  # fmt: skip
    facts |= job_read(found)
    print_table([], ([word, value] for word, value in facts.items() if value not in (None, "")))
    for word, pairs in (("param", found.params), ("tag", found.tags)):
        if pairs:
            print_table([word, "value"], ([key, value] for key, value in pairs.items()))
    if found.summary:
        parts = ("last", "last_step", "min", "max", "mean", "count")
        rows = ([metric, *(_figure(one[part]) for part in parts)] for metric, one in found.summary.items())
        print_table(["metric", "last", "at step", "min", "max", "mean", "points"], rows)


@click.command()
@click.argument("runs", nargs=-1, required=True)
@as_json
def compare(runs: tuple[str, ...], as_json: bool) -> None:
    """Show runs side by side: parameters that differ, and last metrics."""
    api = Api()
    found = [api.run(one) for one in runs]
    if as_json:
        _print_json([run.facts for run in found])
        return
    rows: list[list[Any]] = [["state", *map(_state, found)], ["time", *map(_took, found)]]
    rows += _side_by_side(found, lambda run: run.params, "params.", only_different=True)
    rows += _side_by_side(
        found, lambda run: {metric: _figure(one["last"]) for metric, one in run.summary.items()}, "metrics."
    )
    print_table(["", *(_name(run) or run.id for run in found)], rows)


@click.command()
@click.argument("run")
@click.option("--stderr", is_flag=True, help="What it complained, not what it printed.")
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
def tail(run: str, stderr: bool, lines: int, follow: bool) -> None:
    """Print the end of a run's output."""
    api = Api()
    shown = ""
    while True:
        found = api.run(run)
        text = found.log("stderr" if stderr else "stdout", lines if not shown else 10_000)
        click.echo(_plain(text[_overlap(shown, text) :], keep="\n\t"), nl=False)
        shown = text or shown
        if not follow or found.state in FINAL_STATES:
            return
        time.sleep(_FOLLOW_EVERY_S)


@click.command()
@click.option("--user", metavar="NAME", help="Of this user.")
@as_json
def queue(user: str | None, as_json: bool) -> None:
    """List jobs that wait or run."""
    runs = list(Api().jobs(user))
    if as_json:
        _print_json([run.facts for run in runs])
        return
    if not runs:
        click.echo("Nothing waits or runs.", err=True)
        return
    rows = ([_state(run), _job(run), _name(run), run.user, _took(run), in_the_queue(run) or _last(run)] for run in runs)
    print_table(["state", "job", "name", "user", "time", ""], rows)


def _pointed_at(problem: str, *given: str | None) -> str:
    """The filter or the order that the sentence speaks of, with a caret at the column; nothing if that is not sure."""
    said, told = [_plain(one) for one in given if one], re.match(r"At column (\d{1,5})\b", problem)
    if told is None or len(said) != 1:
        return ""
    return f"\n  {said[0]}\n  {' ' * (int(told[1]) - 1)}^"


def _overlap(shown: str, text: str) -> int:
    """Where in `text` that begins which was not shown yet."""
    for length in range(min(len(shown), len(text)), 0, -1):
        if text.startswith(shown[-length:]):
            return length
    return 0


def _side_by_side(
    runs: list[Run], of: Callable[[Run], dict[str, str]], prefix: str, only_different: bool = False
) -> list[list[Any]]:
    values = [of(run) for run in runs]
    rows = [
        [prefix + key, *(one.get(key, "") for one in values)] for key in sorted({key for one in values for key in one})
    ]
    return [row for row in rows if not only_different or len(set(row[1:])) > 1 or len(runs) == 1]


def _state(run: Run) -> Text:
    from rich.text import Text

    return Text(run.state, _COLOURS.get(run.state, "red"))


def _name(run: Run) -> str:
    return str(run.name or "")


def _job(run: Run) -> str:
    if run.array_job_id is not None and run.array_task_id is not None:
        return f"{run.cluster}:{run.array_job_id}_{run.array_task_id}"
    return f"{run.cluster}:{run.job_id}" if run.job_id is not None else ""


def _took(run: Run) -> str:
    if not run.started_at:
        return ""
    end = _moment(run.ended_at) if run.ended_at else datetime.now(timezone.utc)
    seconds = max(0, round((end - _moment(run.started_at)).total_seconds()))
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock  # as Slurm writes it


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _last(run: Run) -> str:
    own = {metric: one for metric, one in run.summary.items() if not metric.startswith("system/")}
    shown = [f"{metric}={_figure(one['last'])}" for metric, one in list(own.items())[:_MOST_METRICS]]
    return " ".join(shown + ([f"+{len(own) - _MOST_METRICS}"] if len(own) > _MOST_METRICS else []))


def _figure(value: Any) -> str:
    if value is None:
        return ""
    number = float(value)
    return f"{number:.6g}" if math.isfinite(number) else str(value)


def _plain(text: Any, keep: str = "") -> str:
    """Text without what a terminal would obey: users write it."""
    return "".join(one if one in keep or unicodedata.category(one)[0] != "C" else "�" for one in str(text))


def _print_json(answer: Any) -> None:
    json.dump(answer, sys.stdout)
    sys.stdout.write("\n")


def print_table(head: list[str], rows: Iterable[list[Any]]) -> None:
    """Print rows under these words, in columns, harmless for a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(head), header_style="bold", pad_edge=False)
    for word in head or ("", ""):
        table.add_column(Text(_plain(word)), overflow="fold")
    for row in rows:
        table.add_row(*(one if isinstance(one, Text) else Text(_plain("" if one is None else one)) for one in row))
    # Into a pipe nothing is cut or folded.
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(table)
