"""The examples of docs/spool.md work as they stand there, and what they log arrives in a store."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.agent_side import Agent
from tests.conftest import ROOT
from tracker.store.database import Database
from tracker.store.tables import Summary, Tag


def example(language: str) -> str:
    """The example in this language."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs/spool.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def run_sh(folder: Path) -> None:
    subprocess.run(
        ["sh", "-eu", "-c", example("sh")], env={"PATH": "/usr/bin:/bin", "TRACKER_SPOOL": str(folder)}, check=True
    )


def run_c(folder: Path) -> None:
    program = folder.parent / "example"
    flags = ["-x", "c", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wno-sign-compare", "-Werror", "-o", program, "-"]
    subprocess.run(["cc", *flags], input=example("c"), text=True, check=True)
    subprocess.run([program], env={"TRACKER_SPOOL": str(folder)}, check=True)


@pytest.mark.parametrize(("run", "points", "last"), [(run_sh, 3, 0.3), (run_c, 1000, 0.001)], ids=["sh", "c"])
def test_an_example_logs_to_a_run(db: Database, tmp_path: Path, run: object, points: int, last: float) -> None:
    folder = tmp_path / "dev.12"
    folder.mkdir()
    assert callable(run)
    run(folder)
    (file,) = folder.iterdir()
    part = {"type": "lines", "folder": "dev.12", "writer": file.stem, "offset": 0, "user": "alice"}
    assert Agent(db).send((part, file.read_bytes()))["parts"] == [{"offset": file.stat().st_size}]
    with db.read() as session:
        (summary,) = session.scalars(select(Summary))
        tags = {tag.key: tag.value for tag in session.scalars(select(Tag))}
    assert (summary.metric, summary.count, summary.last) == ("loss", points, last)
    assert tags == ({"language": "sh"} if points == 3 else {})
