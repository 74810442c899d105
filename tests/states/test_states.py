"""Every end and every interruption that Slurm knows, on each version: the run says what Slurm's accounting says."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.states.attempts import ATTEMPTS
from tests.states.ends import ENDS
from tests.states.outages import OUTAGES
from tests.states.page import PROPERTY
from tests.states.stage import PATIENCE_S, Stage
from tests.states.story import Endings, Story
from tests.states.truth import compare


def check(stage: Stage, story: Story, endings: Endings, request: pytest.FixtureRequest) -> None:
    """Compare, and leave a line for docs/states.md."""
    for ending in endings if isinstance(endings, list) else [endings]:
        told = compare(stage, ending)
        line = {"name": story.name, "version": stage.version, **vars(told)}
        request.node.user_properties.append((PROPERTY, line))


@pytest.mark.parametrize("story", [*ENDS, *ATTEMPTS], ids=lambda story: story.name)
def test_a_story(
    stage: Stage, played: dict[str, Future[Endings]], story: Story, request: pytest.FixtureRequest
) -> None:
    check(stage, story, played[story.name].result(timeout=PATIENCE_S), request)


@pytest.mark.parametrize("story", OUTAGES, ids=lambda story: story.name)
def test_a_story_of_an_outage(stage: Stage, story: Story, request: pytest.FixtureRequest) -> None:
    check(stage, story, story.play(stage), request)


def test_nothing_is_left(stage: Stage) -> None:
    """No run is left running or waiting, and no node was drained."""
    assert stage.api("/runs?filter=state%20in%20(PENDING%2C%20RUNNING%2C%20SUSPENDED%2C%20LOST)")["items"] == []
    assert stage.as_root("sinfo", "-h", "-t", "drain,down", "-o", "%n %E").strip() == ""
