"""What the documents promise is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracker.cli.commands import cli

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


def test_every_command_of_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text() + str(cli.help)
    named = set(re.findall(r"(?:^|`) *tracker ([a-z]+)", text, re.MULTILINE))
    assert named
    assert named <= set(cli.commands)
    words = set(re.findall(r"\./run ([a-z]+)", text))
    helped = subprocess.run([ROOT / "run", "help"], capture_output=True, text=True, check=True).stdout
    assert {word for word in words if word not in helped} == set()


def test_nothing_committed_names_a_path_of_somebodys_machine() -> None:
    listed = subprocess.run(
        ["git", "grep", "-nIE", "/(work|root/\\.)/"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert [line for line in listed.stdout.splitlines() if "test_docs.py" not in line] == []
