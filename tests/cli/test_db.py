"""`tracker db`: what it prints, for people and for programs, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from tests.agent_side import Agent, lines, points
from tracker.cli.commands import cli
from tracker.cli.progress import size_of
from tracker.store.database import Database


def ask(*words: str) -> Result:
    return CliRunner().invoke(cli, ["db", *words])


def test_a_database_goes_into_a_file_and_comes_out_of_it(tmp_path: Path) -> None:
    url, copy, other = f"sqlite:///{tmp_path}/a.db", str(tmp_path / "copy"), f"sqlite:///{tmp_path}/b.db"
    assert ask("upgrade", "--database", url).stdout.startswith("The database has the newest form, ")
    db = Database(url)
    Agent(db).send(lines("dev.1", *points(3)))
    db.close()
    told = json.loads(ask("backup", copy, "--database", url, "--json").stdout)
    assert (told["file"], told["size_bytes"]) == (copy, Path(copy).stat().st_size)
    again = ask("backup", copy, "--database", url)
    assert (again.exit_code, again.stderr) == (1, f"tracker: {copy} is there already: name another file.\n")
    assert json.loads(ask("restore", copy, "--database", other, "--json").stdout) == {"level": told["level"]}
    found = ask("check", "--database", other)
    assert (found.exit_code, "NOT WHOLE" in found.stdout, "points              1  ok" in found.stdout) == (
        0,
        False,
        True,
    )
    assert "is not empty" in ask("restore", copy, "--database", other).stderr


def test_a_database_that_is_not_whole_makes_the_check_fail(db: Database) -> None:
    Agent(db).send(lines("dev.1", *points(3)))
    with db.write() as session:
        session.execute(text("UPDATE batches SET points = 99"))
    found = ask("check", "--database", db.url)
    assert (found.exit_code, "points              1  NOT WHOLE\n  Points of `w1` of run " in found.stdout) == (
        1,
        True,
    )
    told = ask("check", "--database", db.url, "--json")
    assert told.exit_code == 1
    assert [one["check"] for one in json.loads(told.stdout) if one["problem_count"]] == ["points"]


def test_downgrade_names_the_levels_that_there_are(db: Database) -> None:
    assert ask("downgrade", "0006", "--database", db.url).stdout == "The database has the form 0006.\n"
    refused = ask("downgrade", "0009", "--database", db.url)
    assert (refused.exit_code, "it can to base, 0001" in refused.stderr) == (1, True)


def test_retention_is_said_for_an_experiment_and_shown(db: Database) -> None:
    Agent(db).send(lines("dev.1", {"event": "run", "experiment": "sweep"}, *points(3)))
    shown = ask("retention", "sweep", "--drop-after", "365", "--thin-after", "0", "--database", db.url).stdout
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["sweep", "never", "365", "days"], ["all", "others", "never", "never"]
    ]  # fmt: skip
    told = json.loads(ask("retention", "--database", db.url, "--json").stdout)
    assert told["experiments"] == [{"experiment": "sweep", "thin_points_after_days": 0, "drop_points_after_days": 365}]
    ask("retention", "sweep", "--database", db.url)
    assert json.loads(ask("retention", "--database", db.url, "--json").stdout)["experiments"] == []
    assert "no experiment `nothing`" in ask("retention", "nothing", "--database", db.url).stderr
    assert ask("retention", "--drop-after", "3", "--database", db.url).exit_code == 2
    for days in ("-1", "36501", "9" * 30):
        refused = ask("retention", "sweep", "--drop-after", days, "--database", db.url)
        assert (refused.exit_code, "1 to 36,500 days" in refused.stderr) == (1, True), days


def test_prune_tells_what_it_does(db: Database) -> None:
    Agent(db).send(lines("dev.1", *points(3)))
    with db.write() as session:
        session.execute(text("UPDATE runs SET state = 'FAILED', deleted_at = 1"))
    told = {"dry_run": True, "purged_runs": 1, "thinned_runs": 0, "dropped_runs": 0, "points": 3, "audit_entries": 0}
    assert json.loads(ask("prune", "--dry-run", "--database", db.url, "--json").stdout) == told
    assert ask("prune", "--dry-run", "--database", db.url).stdout.startswith("Would be purged: 1 runs")
    assert ask("prune", "--database", db.url).stdout == (
        "Purged: 1 runs; thinned: 0; points dropped: 0. They had 3 points in all. Entries of the audit log: 0.\n"
    )


@pytest.mark.parametrize("command", ["prune", "retention", "downgrade", "check", "backup", "restore"])
def test_help_shows_an_example(command: str) -> None:
    assert f"  tracker db {command}" in ask(command, "--help").stdout


def test_sizes_are_for_people() -> None:
    assert [size_of(size) for size in (0, 1023, 1536, 5 * 1024**3, 3 * 1024**5)] == [
        "0 bytes", "1023 bytes", "1.5 KiB", "5.0 GiB", "3072.0 TiB"
    ]  # fmt: skip
