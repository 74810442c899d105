"""`tracker gpus`: who has which GPU, who had it then, and GPU-hours."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import click

from tracker.cli.reading import as_json, print_table
from tracker.client.reading import Api
from tracker.errors import BadInput
from tracker.quantities import duration

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PAGE = 500


@click.command()
@click.option("--node", metavar="NAME", help="Of this node.")
@click.option("--cluster", metavar="NAME", help="Of this cluster.")
@click.option("--index", metavar="N", type=click.IntRange(0, 9999), help="Slurm's index of the GPU on its node.")
@click.option("--uuid", metavar="UUID", help="Of this GPU, or this part of one.")
@click.option("--at", metavar="TIME", help="Who had it then: 2026-01-31T14:00 (UTC), or -2h, -7d; else who has it now.")
@click.option("--from", "since", metavar="TIME", help="Who had it since then.")
@click.option("--to", "until", metavar="TIME", help="Who had it until then.")
@click.option("--by", type=click.Choice(["user", "account", "experiment", "state"]), help="GPU-hours by this.")
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at most.")
@as_json
def gpus(
    node: str | None, cluster: str | None, index: int | None, uuid: str | None, at: str | None, since: str | None,
    until: str | None, by: str | None, limit: int, as_json: bool,
) -> None:  # fmt: skip
    """Show who has which GPU, who had it at another time, or GPU-hours.

    \b
    tracker gpus --node n1
    tracker gpus --node n1 --index 2 --from -7d
    tracker gpus --by user --from -30d
    """
    api = Api()
    window = {"from": _moment(since), "to": _moment(until)}
    which = {"node": node, "cluster": cluster, "index": index, "uuid": uuid}
    if by:
        _hours(api, by, window, [name for name, value in (*which.items(), ("at", at)) if value is not None], as_json)
        return
    if not (since or until):
        window = {"at": _moment(at or "-0m")}
    elif at:
        raise BadInput("--at is a moment; a time is asked for with --from and --to.")
    found = list(_all(api, limit, which | window))
    if as_json:
        _print(found)
    elif found:
        print_table(["gpu", "job", "attempt", "name", "user", "state", "from", "to", "for"], map(_row, found))
    else:
        click.echo("Nobody had it, as far as you may see.", err=True)


def _hours(api: Api, by: str, window: dict[str, str | None], unused: list[str], as_json: bool) -> None:
    if unused:
        raise BadInput(f"GPU-hours are of all GPUs: leave out --{' and --'.join(unused)}.")
    told = api.get("/gpu-hours", by=by, **window)
    if as_json:
        _print(told)
        return
    rows = [[one["key"], *_figures(one)] for one in told["items"]] + [["all", *_figures(told["total"])]]
    print_table([by, "GPU-hours", "suspended", "hours of shares", "attempts"], rows)
    click.echo(f"from {told['from'][:19]} to {told['to'][:19]} UTC, as sacct counts", err=True)


def _figures(one: dict[str, Any]) -> list[str]:
    return [*(f"{one[name]:.2f}" for name in ("gpu_hours", "suspended_gpu_hours", "shard_hours")), str(one["attempts"])]


def _all(api: Api, limit: int, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cursor = None
    while limit > 0:
        page = api.get("/gpus", **asked, limit=min(limit, _PAGE), cursor=cursor)
        yield from page["items"]
        limit, cursor = limit - len(page["items"]), page["next_cursor"]
        if cursor is None:
            return


def _row(one: dict[str, Any]) -> list[Any]:
    began, ended = _read(one["from"]), _read(one["to"])
    name = f"{one['node']} {one['index']}" + (f" {one['mig'] or one['uuid']}" if one["mig"] or one["uuid"] else "")
    took = duration((ended or datetime.now(timezone.utc)) - began) if began else ""
    task = None if one["array_task_id"] is None else f"{one['array_job_id']}_{one['array_task_id']}"
    job = f"{one['cluster']}:{task or one['job_id']}"
    state = one["state"] + (f", {one['shards']} shares" if one["shards"] else "")
    return [name, job, one["attempt"], one["name"], one["user"], state, _shown(began), _shown(ended), took]


def _read(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def _shown(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def _moment(text: str | None) -> str | None:
    """The moment as the API takes it. Raises BadInput for a length of time that cannot be."""
    told = re.fullmatch(r"-(\d{1,6})([mhdw])", text or "")
    if not told:
        return text
    try:
        at = datetime.now(timezone.utc) - timedelta(**{_UNITS[told[2]]: int(told[1])})
    except OverflowError:
        raise BadInput(f"`{text}` is before all time.") from None
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"


def _print(answer: Any) -> None:
    json.dump(answer, sys.stdout)
    sys.stdout.write("\n")
