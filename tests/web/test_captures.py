"""What a run's scripts were, as the API tells it and as people see it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tracker.store import captures
from tracker.store.tables import Run

from . import samples
from .conftest import Person, Server

Visit = Callable[..., Person]
COMMIT = "3f9c2a7be1d04c5f8a6b7c8d9e0f1a2b3c4d5e6f"
DIFF = """diff --git a/train.py b/train.py
index 1111111..2222222 100644
--- a/train.py
+++ b/train.py
@@ -1,3 +1,4 @@
 import tracker
-lr = 0.1
+lr = 0.01
+-- not a header
 train(lr)
"""
TOLD: dict[str, Any] = {
    "argv": ["/home/alice/venv/bin/python", "-u", "train.py", "--name", "two words", "--lr", "0.01"],
    "cwd": "/home/alice/mnist",
    "script": {
        "text": "#!/bin/bash\n#SBATCH --gres=gpu:2\nexport WANDB_API_KEY=[redacted]\nsrun python train.py\n",
        "hidden_lines": 1,
    },
    "git": {
        "root": "/home/alice/mnist", "branch": "try/lower-lr", "commit": COMMIT, "dirty": True, "diff": DIFF,
        "remote": "https://example.org/lab/mnist.git", "changed": ["M train.py", "M weights.bin"],
        "not_in_diff": {"weights.bin": "it is no text in UTF-8"}, "untracked": ["outputs/", "sweep.py"],
    },
    "python": {"version": "3.11.7", "executable": "/home/alice/venv/bin/python"},
    "packages": ["numpy==2.1.0", "tokenizers==0.20.1", "torch==2.5.1", "torchvision==0.20.1"],
    "modules": ["gcc/12.3", "cuda/12.4"],
    "container": {"kind": "apptainer", "image": "/images/pytorch-24.10.sif"},
    "host": {"name": "n1", "system": "Linux 6.1", "machine": "x86_64", "cpus": 16},
    "env": {"CUDA_VISIBLE_DEVICES": "0,1", "NCCL_DEBUG": "INFO", "SLURM_JOB_ID": "4711"},
}  # fmt: skip


def add(server: Server, told: dict[str, Any] = TOLD, writer: str = "w1", attempt: int = 1, **facts: Any) -> Run:
    with server.database.write() as session:
        run = samples.add_run(session, **{"gpus": {"n1": [0, 1]}, **facts})
        captures.keep(session, run.id, writer, captured_at=samples.moment(), attempt=attempt, content=told)
        return run


def opened(page: Page) -> Any:
    page.locator(".capture > summary").first.click()
    body = page.locator(".capture-body").first
    expect(body.locator("dl").first).to_be_visible()
    return body


def test_the_api_tells_all_of_it(server: Server) -> None:
    run = add(server)
    answer = server.ask(f"/api/v1/runs/{run.id}/capture", token=server.token()).json
    (one,) = answer["items"]
    assert {key: one[key] for key in ("writer", "attempt", "argv", "packages", "env")} == {
        "writer": "w1", "attempt": 1, "argv": TOLD["argv"], "packages": TOLD["packages"], "env": TOLD["env"],
    }  # fmt: skip
    assert (one["git"]["diff"], one["git"]["dirty"], one["script"]["hidden_lines"]) == (DIFF, True, 1)
    assert (one["venv"], one["conda"], one["notes"], answer["next_cursor"]) == (None, None, [], None)


def test_nobody_reads_what_another_runs(server: Server) -> None:
    run = add(server)
    for path in ("api/v1/runs/{}/capture", "runs/{}/code", "runs/{}/code.diff"):
        assert server.ask("/" + path.format(run.id), token=server.token("bob")).status == 404
        assert server.ask("/" + path.format(run.id)).status in (302, 303, 401)


def test_the_diff_as_a_file_applies(server: Server, tmp_path: Path) -> None:
    run = add(server)
    answer = server.ask(f"/runs/{run.id}/code.diff?writer=w1", token=server.token())
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    (tmp_path / "train.py").write_text("import tracker\nlr = 0.1\ntrain(lr)\n")
    subprocess.run(["git", "apply", "-"], input=answer.body, cwd=tmp_path, check=True)
    assert (tmp_path / "train.py").read_text() == "import tracker\nlr = 0.01\n-- not a header\ntrain(lr)\n"
    assert server.ask(f"/runs/{run.id}/code.diff?writer=w2", token=server.token()).status == 404
    assert server.ask(f"/runs/{run.id}/code.diff?writer=%00", token=server.token()).status == 404


def change(server: Server, run: Run) -> None:
    """Something of the run changes, and its page looks again."""
    with server.database.write() as session:
        samples.changed(session, run)


def test_the_run_s_page_names_the_commit_and_asks_for_the_rest_when_opened(server: Server, visit: Visit) -> None:
    run = add(server)
    person = visit(server)
    asked: list[str] = []
    person.page.on("request", lambda request: asked.append(request.url))
    page = person.open(f"/runs/{run.id}")
    summary = page.locator(".capture > summary")
    expect(summary).to_contain_text("train.py 3f9c2a7be1 on try/lower-lr with changes")
    with page.expect_response(lambda answer: "fragment=1" in answer.url and "/code" not in answer.url) as fresh:
        change(server, run)
    assert "lr = 0.01" not in fresh.value.text() if fresh.value.status == 200 else True
    assert [url for url in asked if "/code" in url] == []
    body = opened(page)
    expect(body.get_by_label("command line", exact=True)).to_have_text(
        "/home/alice/venv/bin/python -u train.py --name 'two words' --lr 0.01"
    )
    for word in ("cuda/12.4", "apptainer /images/pytorch-24.10.sif", "https://example.org/lab/mnist.git", COMMIT):
        expect(body).to_contain_text(word)
    expect(body.locator(".diff .added")).to_have_text(["+lr = 0.01\n", "+-- not a header\n"])
    expect(body.locator(".diff .removed")).to_have_text(["-lr = 0.1\n"])
    assert body.locator(".diff").evaluate("pre => pre.textContent") == DIFF
    with page.expect_response(lambda answer: "fragment=1" in answer.url):
        change(server, run)
    expect(body.locator(".diff")).to_be_visible()
    assert len([url for url in asked if "/code" in url]) == 1


def test_packages_are_searched_and_copied(server: Server, visit: Visit) -> None:
    run = add(server)
    person = visit(server, permissions=["clipboard-read", "clipboard-write"])
    page = person.open(f"/runs/{run.id}")
    body = opened(page)
    body.get_by_text("Packages").click()
    packages = body.locator("pre[aria-label=Packages]")
    body.get_by_role("searchbox", name="Find a package").fill("TORCH")
    expect(packages).to_have_text("torch==2.5.1\ntorchvision==0.20.1")
    body.get_by_role("button", name="Copy packages").click()
    expect(body.get_by_role("button", name="Copy packages")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "torch==2.5.1\ntorchvision==0.20.1"
    body.get_by_role("searchbox", name="Find a package").fill("")
    expect(packages).to_contain_text("numpy")


def test_without_scripts_a_link_leads_to_it(server: Server, visit: Visit) -> None:
    run = add(server)
    page = visit(server, java_script_enabled=False).open(f"/runs/{run.id}")
    page.locator(".capture > summary").click()
    page.get_by_role("link", name="Command line, diff").click()
    expect(page.locator("#main")).to_contain_text("+lr = 0.01")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Code of train")


@pytest.mark.parametrize(
    "told", [{}, {"argv": ["x"]}, {"git": {"dirty": False, "commit": COMMIT}}, {"notes": ["git: no time"]}], ids=str
)
def test_little_is_shown_as_little(server: Server, visit: Visit, told: dict[str, Any]) -> None:
    run = add(server, told)
    page = visit(server).open(f"/runs/{run.id}/code")
    expect(page.locator(".captured")).to_have_count(1)
    expect(page.locator(".captured details")).to_have_count(0)


def test_nothing_that_was_captured_can_harm_who_looks(server: Server, visit: Visit) -> None:
    nasty = "".join(one for one in samples.HOSTILE if len(one) < 1000)
    many = [nasty] * 3
    told = {
        "argv": many, "cwd": nasty, "script": {"text": nasty, "hidden_lines": 1}, "packages": many, "modules": many,
        "git": {
            "root": nasty, "branch": nasty, "commit": COMMIT, "remote": "javascript:alert(1)", "dirty": True,
            "diff": DIFF + f"+{nasty}\n", "changed": many, "not_in_diff": {nasty: nasty}, "untracked": many,
            "notes": many,
        },
        "python": {"version": nasty, "executable": nasty}, "conda": {"name": nasty, "prefix": nasty}, "venv": nasty,
        "container": {"kind": nasty, "image": nasty}, "host": {"name": nasty}, "env": {nasty: nasty}, "notes": many,
    }  # fmt: skip
    run = add(server, told, name="hostile")
    for wishes in ({}, {"viewport": {"width": 390, "height": 844}}):
        page = visit(server, **wishes).open(f"/runs/{run.id}")
        body = opened(page)
        for summary in body.locator("summary").all()[1:]:
            summary.click()
        assert page.evaluate("document.body.dataset.hacked") is None
        text = body.inner_text()
        assert not set(text) & set("\u202e\u2066\x1b\x07")
        assert body.locator("script, img").count() == 0
        assert body.locator("a").evaluate_all("all => all.map(a => new URL(a.href).protocol)") == ["http:"]
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_two_scripts_of_one_run_have_a_card_each(server: Server, visit: Visit) -> None:
    run = add(server)
    with server.database.write() as session:
        told = {**TOLD, "argv": ["python", "eval.py"], "git": {"commit": COMMIT, "dirty": False}}
        captures.keep(session, run.id, "w2", captured_at=samples.moment(-9), attempt=2, content=told)
    page = visit(server).open(f"/runs/{run.id}")
    cards = page.locator(".capture")
    expect(cards).to_have_count(2)
    expect(cards.nth(1).locator("summary").first).to_have_text("eval.py 3f9c2a7be1 attempt 2")
    cards.nth(1).locator("summary").first.click()
    expect(cards.nth(1)).to_contain_text("No tracked file differed from the commit.")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen_and_can_be_read(
    server: Server, visit: Visit, scheme: str, width: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = add(server)
    page = visit(server, color_scheme=scheme, viewport={"width": width, "height": 1000}).open(f"/runs/{run.id}")
    body = opened(page)
    for word in ("Packages", "Batch script", "Variables", "Not in the diff"):
        body.get_by_text(word, exact=True).click()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    page.locator(".capture").screenshot(path=folder / f"capture-{scheme}-{width}.png")
