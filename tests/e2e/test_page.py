"""A job as alice sees it in her browser, and the pictures of the README."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import ROOT, wait_until
from tests.e2e.conftest import Site

TRAIN = """rm -f seen-live.go
exec python -c '
import os, time, tracker
for i in range(100):
    tracker.log({"loss": 1 / (i + 1)}, step=i)
    while i == 50 and not os.path.exists("seen-live.go"):
        time.sleep(0.1)
print("trained")
'"""


@pytest.fixture
def page(site: Site, browser: Browser) -> Iterator[Page]:
    """A page that is logged in. Nothing may have been complained about in the end."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda problem: complaints.append(str(problem)))
    page.goto(site.cluster.login_url())
    yield page
    context.close()
    assert complaints == []


def test_a_job_appears_moves_and_ends_without_a_reload(site: Site, page: Page) -> None:
    page.goto(f"{site.cluster.url}/")
    page.evaluate("window.loadedOnce = true")
    job = site.sbatch(TRAIN, "-J", "seen-live", "--gres=gpu:1", "-o", "seen-live.out")
    row = page.get_by_text("seen-live")
    expect(row).to_be_visible()
    site.await_state(job, "RUNNING")
    expect(page.locator("main")).to_contain_text(re.compile(r"running", re.IGNORECASE))
    assert page.evaluate("window.loadedOnce")

    row.click()
    expect(page).to_have_url(re.compile("/runs/"))
    page.evaluate("window.loadedOnce = true")
    chart = page.get_by_role("article").filter(has_text="loss")
    expect(chart.locator("canvas")).to_be_visible()

    def shown() -> int:
        return int(chart.get_attribute("data-count") or 0)

    wait_until(lambda: shown() == 51, what="the curve is there")
    site.as_root("touch", "/home/alice/seen-live.go")
    wait_until(lambda: shown() == 100, what="the curve moves")
    site.await_state(job, "COMPLETED")
    expect(page.locator("main")).to_contain_text(re.compile("completed", re.IGNORECASE))
    expect(page.locator("main")).to_contain_text("trained")
    assert page.evaluate("window.loadedOnce")


def test_the_pictures_of_the_readme(site: Site, page: Page, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    site.as_root("cp", "-r", str(ROOT / "examples"), "/home/alice/")
    site.as_root("chmod", "-R", "a+rX", "/home/alice/examples")
    words = {"env": {"HOME": "/home/alice"}, "cwd": "/home/alice"}
    ended = site.cluster.sbatch("alice", "examples/digits.sh", "--pause", "0.02", **words)
    failing = site.cluster.sbatch("alice", "examples/fails.sh", **words)
    for name in (failing, *(f"{ended}_{task}" for task in range(4))):
        site.await_truth(name)
    digits = site.cluster.sbatch("alice", "examples/digits.sh", "--epochs", "150", **words)

    def epochs() -> int:
        return ((site.run(f"{digits}_2") or {}).get("summary") or {}).get("test/loss", {}).get("count", 0)

    wait_until(lambda: epochs() > 60, within_s=90, what="60 epochs")  # importing scikit-learn takes its time, too
    waiting = site.cluster.sbatch("bob", "--gres=gpu:2", "--nodes=2", "-J", "pretrain", script="#!/bin/sh\nsleep 1\n")
    site.await_state(waiting, "PENDING")
    page.goto(f"{site.cluster.url}/")
    expect(page.get_by_text("waits for nodes or GPUs")).to_be_visible()
    page.screenshot(path=folder / "now.png")
    page.goto(f"{site.cluster.url}/runs/test:{digits}_2")
    expect(page.locator("canvas").first).to_be_visible()
    wait_until(lambda: page.locator("canvas").count() >= 3)
    page.screenshot(path=folder / "run.png")
    page.goto(f"{site.cluster.url}/cluster")
    page.screenshot(path=folder / "cluster.png")
    site.as_root("scancel", str(digits), str(waiting))
    assert all((folder / f"{name}.png").stat().st_size > 20_000 for name in ("now", "run", "cluster"))
