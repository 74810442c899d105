"""docs/states.md tells of the stories that there are, each on all versions."""

from __future__ import annotations

from lab.release import VERSIONS
from tests.states.page import PAGE, STORIES


def test_the_page_has_each_story_on_each_version() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    told = {
        (row[0], version) for row in rows for version, delay in zip(VERSIONS, row[3:], strict=True) if delay.strip()
    }
    assert told == {(story.title, version) for story in STORIES for version in VERSIONS}
