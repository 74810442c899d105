"""What `./run bench client` reckons, prints and writes, and that it runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import _client_tables as client
from bench._figures import Table, p99, ratio, write_section
from bench._rounds import Measured
from lab.place import LabError
from tests.conftest import ROOT


def calls(*medians_us: float, write_us: float = 1.0) -> list[dict[str, Any]]:
    """Rounds of a tight loop in which each call of a round took the same."""
    return [{"log": [us * 1000] * 9, "write": [write_us * 1000] * 9} for us in medians_us]


@pytest.fixture
def found() -> Measured:
    """Two rounds of our columns and one peer's, beside a program that does nothing."""
    names = ("tracker", "tracker-json", "trackio")
    one = {"tracker": calls(2, 4), "tracker-json": calls(4, 8), "trackio": calls(6, 20)}
    ten = {"tracker": calls(9, 9), "tracker-json": calls(9, 9), "trackio": calls(9, 9)}
    life = {"import_ms": 1, "init_ms": 2, "first_log_ms": 3, "ready_cpu_ms": 5, "threads": 0, "helpers": 0, "inodes": 1,
            "resident_bytes": 4_000_000, "helpers_resident_bytes": 0}  # fmt: skip
    return Measured(
        one=one,
        ten=ten,
        starts={name: [{"bare_ms": 9.0, "over_bare_ms": 2.5, "over_bare_cpu_ms": 2}] for name in names},
        whole={"nothing": [{"end_ms": 5.0}], **{name: [{**life, "end_ms": 8.0}] for name in names}},
        paced={name: [{"step": [100, 300], "log": [10, 10], "cpu_s": [0.1]}] for name in (*names, "nothing")},
        killed={
            "tracker": [{"logged": 10, "read": 11, "lost": 0}],
            "tracker-json": [{"logged": 10, "read": 10, "lost": 0}],
            "trackio": [{"logged": 30, "read": 20, "lost": 10}, {"logged": 20, "read": 20, "lost": 0}],
        },
    )


def rows(table: Table) -> dict[str, dict[str, Any]]:
    return {str(row[""]): row for row in table.rows}


def test_a_ratio_is_taken_within_each_round() -> None:
    assert ratio([6, 20, 8], [2, 4, 8]) == 3  # and not the ratio of the medians, which is 2
    assert p99([1] * 99 + [100]) < 100


def test_each_tracker_is_a_column_and_nothing_is_none(found: Measured) -> None:
    made = client.tables(found, {"tracker-json": "tracker, json"})
    assert [list(table.rows[0]) for table in made] == [["", "tracker", "tracker, json", "trackio"]] * 4
    one, whole, paced, killed = map(rows, made)
    assert one["1 scalar, p50 µs"]["trackio"] == 13
    assert one["1 scalar, p50 ÷ tracker"]["trackio"] == 4
    assert one["1 scalar, p50 ÷ write"]["tracker"] == 3
    assert one["1 scalar, calls over 1 ms"]["tracker"] == "0 of 18"
    assert whole["end over nothing, ms"]["tracker"] == 3
    assert whole["memory, MB"]["tracker"] == 4
    assert paced["mean step, slower by %"]["tracker"] == 0
    assert killed["lost of a process"]["trackio"] == "0 to 10"
    assert killed["lost of all, %"]["trackio"] == 20


def test_calls_while_a_repository_is_captured_stand_beside_those_without(found: Measured) -> None:
    found.captured = {"on": [{"log": [1000] * 999 + [2_000_000]}], "off": [{"log": [1000] * 1000}]}
    captured = rows(client.tables(found, {})[-1])
    assert list(captured["log p50 µs"].values()) == ["log p50 µs", 1, 1]
    assert list(captured["log most µs"].values())[1:] == [2000, 1]
    assert list(captured["calls over 1 ms"].values())[1:] == ["1 of 1,000", "0 of 1,000"]


def test_a_bar_is_reached_or_missed(found: Measured) -> None:
    verdicts = {name: row["verdict"] for name, row in rows(client.bars(found)).items()}
    assert verdicts["1 scalar, p50 µs"] == "missed"
    assert verdicts["1 scalar, p50 ÷ write"] == "reached"
    assert verdicts["1 scalar, trackio's p50 ÷ tracker"] == "reached"
    assert verdicts["10 scalars, trackio's p50 ÷ tracker"] == "missed"
    assert verdicts["points lost by kill -9"] == "reached"


def test_only_the_own_section_of_a_document_is_written(tmp_path: Path) -> None:
    document = tmp_path / "figures.md"
    document.write_text("before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n")
    write_section(document, "x", "new")
    assert document.read_text() == "before\n<!-- x: begin -->\nnew\n<!-- x: end -->\nafter\n"
    with pytest.raises(LabError, match="y: begin"):
        write_section(document, "y", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["figures.md"]


def test_without_the_peers_libraries_it_says_so_and_measures_ours(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "benchmarks.md").read_text()
    (tmp_path / "lab").write_text("in the way")
    said = subprocess.run(
        [ROOT / "run", "bench", "client", "--quick", "--json", tmp_path / "figures.json"],
        env={"PATH": "/usr/bin:/bin", "TRACKER_LAB": str(tmp_path / "lab")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "without the other trackers, ours alone:" in said.stderr
    assert "| 1 scalar, p50 µs |" in said.stdout
    assert "| log p99.9 µs |" in said.stdout
    assert "| points lost by kill -9 | 0 | at most 0 | reached |" in said.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["rounds"]["one"]) == {"tracker", "tracker-json"}
    assert all(answer["logged"] > 0 for answer in figures["rounds"]["killed"]["tracker"])
    assert (ROOT / "docs" / "benchmarks.md").read_text() == document


def test_an_unknown_peer_is_told_with_the_known_ones() -> None:
    said = subprocess.run(
        [ROOT / "run", "bench", "client", "--peers", "nobody"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert "'nobody' is none of trackio, tensorboardX, wandb, mlflow, mlflow-async, none" in said.stderr
