"""One cluster a version, and the stories that are played on it at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from lab.cluster import Cluster
from lab.release import VERSIONS
from tests.conftest import mark_ours
from tests.states.attempts import ATTEMPTS
from tests.states.ends import ENDS
from tests.states.page import PageWriter
from tests.states.stage import Stage
from tests.states.story import Endings, Story


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--write-states`, where these tests are named."""
    parser.addoption("--write-states", action="store_true", help="write docs/states.md when all stories were told")


def pytest_configure(config: pytest.Config) -> None:
    """The process that hears of all tests writes the page."""
    if config.getoption("--write-states") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(PageWriter())


@pytest.fixture(scope="package", params=VERSIONS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The cluster of one version."""
    version = request.param
    cluster = Cluster(f"states{version.replace('.', '')}", nodes=5, gpus=1, shards=4, slurm=version)
    cluster.remove()
    mark_ours(cluster)
    cluster.up()
    stage = Stage(cluster)
    stage.sightings.start()
    yield stage
    stage.sightings.stop()
    cluster.remove()


@pytest.fixture(scope="package")
def played(stage: Stage, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Endings]]]:
    """How the stories end that do not disturb each other: they are played at once, those that are asked for."""
    wanted: list[Story] = [story for story in (*ATTEMPTS, *ENDS) if _is_asked_for(request, story, stage.version)]
    pool = ThreadPoolExecutor(max_workers=max(len(wanted), 1))
    yield {story.name: pool.submit(story.play, stage) for story in wanted}
    stage.sightings.stop()
    pool.shutdown(cancel_futures=True)


def _is_asked_for(request: pytest.FixtureRequest, story: Story, version: str) -> bool:
    return any(f"[{version}-{story.name}]" in item.name for item in request.session.items)
