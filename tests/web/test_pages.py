"""The pages as people see them, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from tracker.store import clocks, logs, params
from tracker.store.tables import Attempt, Run

from . import samples
from .conftest import Person, Server

Visit = Callable[..., Person]

PAGES = ["/", "/runs", "/runs/{run}", "/runs/{run}?x=time", "/experiments", "/cluster"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def _drawn(page: Page, metric: str, points: int) -> None:
    """Wait until the chart of the metric shows so many points."""
    card = page.locator(".chart", has=page.get_by_role("heading", name=metric, exact=True))
    card.scroll_into_view_if_needed()
    expect(card.locator(".plot")).to_have_attribute("data-points", str(points))
    expect(card.locator("canvas")).to_be_visible()


def _width_beyond_screen(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_home_shows_the_queue_beside_the_results(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        samples.busy_afternoon(session)
    page = visit(server).open("/")
    queue, results = page.get_by_role("region", name="Queue"), page.get_by_role("region", name="Results")
    expect(queue).to_contain_text("3 running")
    expect(queue).to_contain_text("4 pending")
    expect(queue).to_contain_text("It is next, and waits for nodes or GPUs to become free.")
    running = queue.get_by_role("listitem").filter(has_text="resnet50 baseline").first
    expect(running).to_contain_text("of 1h 00m")
    expect(running).to_contain_text("GPU 0, 1")
    expect(running).to_contain_text("loss")
    failed = results.get_by_role("listitem").filter(has_text="failed").first
    expect(failed).to_contain_text("It ended with exit code 3")
    expect(failed).to_contain_text("waiting for Slurm's accounting")
    assert queue.bounding_box()["y"] == results.bounding_box()["y"]  # type: ignore[index]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_useful_before_its_scripts_run(server: Server, visit: Visit, path: str) -> None:
    with server.database.write() as session:
        run = samples.busy_afternoon(session)["running"]
    page = visit(server, java_script_enabled=False).open(path.format(run=run.id))
    words = {"/experiments": "digits", "/cluster": "resnet50 baseline"}.get(path, "0.9584")
    expect(page.locator("#main")).to_contain_text(words)


def test_the_last_lines_of_the_output_come_though_the_end_was_known_before_them(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, state="COMPLETED", age_s=60, took_s=40)
        samples.print_output(session, run, "")
    page = visit(server).open(f"/runs/{run.id}")
    expect(page.locator("#main")).to_contain_text("Nothing printed yet.")
    with server.database.write() as session:
        samples.print_output(session, run, "trained\n", complete=True)
    expect(page.locator("#main")).to_contain_text("trained")


def test_an_empty_house_says_what_to_do_next(server: Server, visit: Visit) -> None:
    person = visit(server)
    for path, words in (
        ("/", "sbatch job.sh"),
        ("/", 'tracker.log({"loss": 0.31}, step=10)'),
        ("/runs", "There is no run yet."),
        ("/runs?q=x", "No run fits."),
        ("/experiments", "There is no experiment yet."),
        ("/cluster", "No Slurm cluster is known yet."),
    ):
        expect(person.open(path).locator("#main")).to_contain_text(words)


def test_a_job_appears_and_ends_without_reload(server: Server, visit: Visit) -> None:
    page = visit(server).open("/")
    page.evaluate("window.sameDocument = true")
    with server.database.write() as session:
        run = samples.add_run(session, name="first walk", gpus={"n1": [1]})
        samples.log(session, run, "loss", [0.5, 0.25])
    queue, results = page.get_by_role("region", name="Queue"), page.get_by_role("region", name="Results")
    expect(queue).to_contain_text("first walk")
    expect(queue).to_contain_text("0.25")
    with server.database.write() as session:
        ended = session.get_one(Run, run.id)
        ended.state, ended.ended_at = "COMPLETED", samples.moment()
        samples.changed(session, ended)
    expect(results).to_contain_text("first walk")
    expect(queue).not_to_contain_text("first walk")
    assert page.evaluate("window.sameDocument") is True


def test_charts_move_while_the_job_runs(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss", [1 / (1 + step) for step in range(100)])
    page = visit(server).open(f"/runs/{run.id}")
    _drawn(page, "loss", 100)
    with server.database.write() as session:
        samples.log(session, run, "loss", [0.001] * 900, first_step=100)
        samples.log(session, run, "accuracy", [0.9])
    _drawn(page, "loss", 1000)
    _drawn(page, "accuracy", 1)
    expect(page.locator(".chart", has_text="loss").locator(".range")).to_contain_text("999")


def test_a_chart_over_time_and_one_with_gaps_are_drawn(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, state="COMPLETED", took_s=90)
        samples.log(session, run, "loss", [1.0, float("nan"), 3.0, float("inf"), 2.0])
        samples.log(session, run, "never a number", [float("nan")] * 3)
    page = visit(server).open(f"/runs/{run.id}")
    page.get_by_role("link", name="time", exact=True).click()
    _drawn(page, "loss", 5)
    _drawn(page, "never a number", 3)
    expect(page.locator(".chart", has_text="never a number").locator(".last")).to_have_text("NaN")


def test_pointing_at_a_chart_reads_its_value(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss", [0.125] * 11)
        samples.log(session, run, "accuracy", [0.75] * 11)
    page = visit(server).open(f"/runs/{run.id}")
    _drawn(page, "loss", 11)
    _drawn(page, "accuracy", 11)
    page.locator(".chart", has_text="loss").locator(".u-over").hover()
    expect(page.locator(".chart", has_text="loss").locator(".readout")).to_have_text("step 5: 0.125")
    expect(page.locator(".chart", has_text="accuracy").locator(".readout")).to_have_text("step 5: 0.75")


def test_a_run_tells_all_that_is_known_of_it(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.busy_afternoon(session)["running"]
        first = session.get_one(Attempt, (run.id, 1))
        first.state, first.ended_at = "PREEMPTED", samples.moment(60)
        samples.add_attempt(session, run, {"n2": [3]}, number=2, started_at=samples.moment(50))
        params.add_notes(session, run.id, {"weights": "is no number"})
    page = visit(server).open("/runs/dev:4711")
    main = page.locator("#main")
    for words in (
        "resnet50 baseline", "dev:4711", "/home/alice/mnist/train.sh --lr 0.1", "optimizer/weight_decay", "0.05",
        "imagenet-1k", "is no number", "epoch  59 loss", "/home/alice/slurm-4711.out",
    ):  # fmt: skip
        expect(main).to_contain_text(words)
    attempts = page.get_by_role("region", name="Attempts").get_by_role("listitem")
    expect(attempts).to_have_count(2)
    expect(attempts.first).to_contain_text("n2 GPU 3")
    expect(attempts.last).to_contain_text("preempted")


def test_output_stays_at_its_end_until_somebody_scrolls_up(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.print_output(session, run, "line\n" * 150)
    page = visit(server).open(f"/runs/{run.id}")
    log = page.locator("#log-stdout-text")

    def from_end() -> int:
        return int(log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight"))

    expect(log).to_be_visible()
    assert from_end() < 8
    with server.database.write() as session:
        samples.print_output(session, run, "line\n" * 150 + "news\n")
    expect(log).to_contain_text("news")
    assert from_end() < 8
    log.evaluate("log => { log.scrollTop = 0 }")
    with server.database.write() as session:
        samples.print_output(session, run, "line\n" * 150 + "news\nlate news\n")
    expect(log).to_contain_text("late news")
    assert log.evaluate("log => log.scrollTop") == 0


def test_new_output_costs_its_own_length_and_the_page_stays_short(server: Server, visit: Visit) -> None:
    line = "\x1b[32mgreen\x1b[0m <b>line</b> of an output\n"
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.print_output(session, run, line * 20_000)
    person = visit(server, **PHONE)
    sent: list[int] = []
    person.page.on("response", lambda answer: sent.append(len(answer.body())) if "/output?" in answer.url else None)
    page = person.open(f"/runs/{run.id}")
    log = page.locator("#log-stdout-text")
    expect(log).to_contain_text("<b>line</b>")
    for number in range(3):
        with server.database.write() as session:
            samples.print_output(session, run, line * (20_000 + number) + f"\x1b[1;31mnews {number}\x1b[0m\n")
        expect(log.locator(".t-bold.t-1")).to_have_text(f"news {number}")
    assert log.locator("[data-piece]").count() <= 40
    assert log.evaluate("log => log.textContent.length") < 400_000
    assert 3 <= len(sent) <= 6
    assert max(sent) < 40_000
    assert _width_beyond_screen(page) <= 0


def test_what_is_missing_in_an_output_is_told_at_its_place(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        logs.expect(session, [logs.Output(run.id, "stdout", "/o", "n1", 1001)])
        for offset, words, anew in ((0, b"begin\n", False), (5_000_006, b"later\n", False), (0, b"again\n", True)):
            sent = logs.Delivery(offset, words, True, anew=anew)
            logs.store(session, run, "stdout", sent, now=samples.moment(), keep_bytes=10_000)
    for wishes in ({}, {"java_script_enabled": False}):
        page = visit(server, **wishes).open(f"/runs/{run.id}")
        expect(page.locator("#log-stdout .mark")).to_have_text(["4.77 MiB left out", "the file was written anew"])
        expect(page.locator("#log-stdout")).to_contain_text("It was printed too fast: 4.77 MiB of it were left out.")


def test_a_list_can_be_narrowed_and_sent_to_a_colleague(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        samples.busy_afternoon(session)
    page = visit(server).open("/runs")
    page.get_by_label("Experiment").fill("digits")
    page.get_by_label("State").select_option("FAILED")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("mlp baseline")
    colleague = visit(server, "bob").page
    colleague.goto(page.url)
    expect(colleague.locator("tbody tr")).to_have_count(1)
    expect(colleague.get_by_label("Experiment")).to_have_value("digits")


def test_older_runs_are_a_page_further(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        for index in range(5):
            samples.add_run(session, name=f"run {index}", age_s=600 - index)
    page = visit(server).open("/runs?limit=3")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_role("link", name="Older runs").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody")).to_contain_text("run 0")
    page.get_by_role("link", name="First page").click()
    expect(page.locator("tbody")).to_contain_text("run 4")


def test_the_cluster_shows_who_holds_which_gpu(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        samples.busy_afternoon(session)
        samples.add_run(session, name="of bob", user="bob", gpus={"n2": [1]})
    page = visit(server, role="user").open("/cluster")
    first, second, third = (page.locator(".node").nth(index) for index in range(3))
    expect(first.locator("a.slot")).to_have_count(4)
    expect(second.locator(".slot")).to_have_text(["0in use", "1free", "2free", "3free"])
    expect(third).to_contain_text("down, not responding")
    first.get_by_role("link", name="resnet50 baseline").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("resnet50 baseline")


def test_a_wrong_clock_is_told_at_its_node(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        samples.add_cluster(session)
        wrong = {"n1": timedelta(seconds=312), "n2": timedelta(seconds=-5)}
        clocks.behind(session, [clocks.Measured("dev", node, late, samples.moment()) for node, late in wrong.items()])
    page = visit(server).open("/cluster")
    expect(page.locator(".node").nth(0)).to_contain_text("312 s behind; the times it tells are corrected")
    expect(page.locator(".node").nth(1)).to_contain_text("5 s ahead")
    expect(page.locator(".node").nth(2)).not_to_contain_text("Clock")


def test_a_silent_watcher_and_a_sick_slurm_are_told(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        samples.add_cluster(session, "dev", as_of=samples.moment() - timedelta(minutes=5))
        samples.add_cluster(session, "far", problem="squeue gave no answer within 20 s")
    for path in ("/", "/cluster"):
        page = visit(server).open(path)
        expect(page.locator(".notice").first).to_contain_text("no news from Slurm since")
        expect(page.locator(".notice").last).to_contain_text("squeue gave no answer within 20 s")


def test_times_are_local_and_exact_on_hover(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, state="COMPLETED", took_s=60)
        run.started_at = samples.moment().replace(year=2026, month=1, day=2, hour=22, minute=30, second=5)
    page = visit(server, timezone_id="Asia/Tokyo", locale="en-GB").open("/runs")
    shown = page.locator(".c-started time")
    expect(shown).to_have_text("3 Jan, 07:30")
    expect(shown).to_have_attribute("title", "2026-01-02 22:30:05 UTC")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(server: Server, visit: Visit, theme: str) -> None:
    with server.database.write() as session:
        run = samples.busy_afternoon(session)["running"]
    person = visit(server, color_scheme=theme, **PHONE)
    for path in PAGES:
        page = person.open(path.format(run=run.id))
        expect(page.locator("#main")).to_be_visible()
        assert _width_beyond_screen(page) <= 0, path


def test_the_keyboard_reaches_the_content_and_keeps_its_place(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        samples.busy_afternoon(session)
    page = visit(server).open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(".strip-name")).to_be_focused()
    link = page.get_by_role("region", name="Queue").get_by_role("link", name="resnet50 baseline")
    link.focus()
    with server.database.write() as session:
        samples.add_run(session, name="newcomer")
    expect(page.get_by_role("region", name="Queue")).to_contain_text("newcomer")
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("resnet50 baseline")


def test_hostile_text_is_only_text(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        shown = [_hostile_run(session, text) for text in samples.HOSTILE]
        samples.add_cluster(session, problem=samples.SCRIPT)
    for wishes in ({}, PHONE):
        person = visit(server, **wishes)
        person.page.on("dialog", lambda _dialog: pytest.fail("a script of a stranger ran"))
        for path in ("/", "/runs", "/experiments", "/cluster", *(f"/runs/{run.id}" for run in shown)):
            page = person.open(path)
            expect(page.locator("#main")).to_be_visible()
            assert page.evaluate("document.body.dataset.hacked") is None
            assert _width_beyond_screen(page) <= 0, path
    page = person.open(f"/runs/{shown[0].id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(samples.SCRIPT)
    expect(page.locator(".plot").first).to_have_attribute("data-points", "3")
    page = person.open(f"/runs/{shown[1].id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("safe⟨U+202E⟩gnp.exe⟨U+2066⟩")


def _hostile_run(session: Session, text: str) -> Run:
    run = samples.add_run(
        session, name=text, experiment=text, user="alice", state="FAILED", took_s=9, reason=text, work_dir=text,
        command=text, account=text, partition=text, gpus={text[:200]: [0]},
    )  # fmt: skip
    samples.log(session, run, text[:500], [1.0, 2.0, 3.0])
    params.set_params(session, run.id, {text[:500]: text})
    params.set_tags(session, run.id, {text[:500]: text})
    params.add_notes(session, run.id, {text[:500]: text})
    samples.print_output(session, run, text, path=text, problem=text)
    return run


def test_under_a_prefix_pages_stay_fresh_and_charts_are_drawn(prefixed_server: Server, visit: Visit) -> None:
    with prefixed_server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss", [1.0, 0.5])
    page = visit(prefixed_server).open(f"/runs/{run.id}")
    _drawn(page, "loss", 2)
    with prefixed_server.database.write() as session:
        samples.log(session, run, "loss", [0.25], first_step=2)
    _drawn(page, "loss", 3)


def test_who_is_logged_out_meanwhile_is_told(server: Server, visit: Visit) -> None:
    person = visit(server)
    person.page.route("**/api/v1/stream", lambda _route: None)  # so that the page asks each second
    page = person.open("/")
    page.context.clear_cookies()
    expect(page.get_by_role("status")).to_contain_text("You are logged out.")
    person.console.clear()  # the browser itself reports the 401


def test_a_server_that_comes_back_is_found_again(server: Server, visit: Visit) -> None:
    person = visit(server)
    person.page.route("**/api/v1/stream", lambda _route: None)
    page = person.open("/")
    page.route("**/*fragment=1", lambda route: route.abort())
    expect(page.locator("#connection")).to_contain_text("The server does not answer")
    page.unroute("**/*fragment=1")
    with server.database.write() as session:
        samples.add_run(session, name="made meanwhile")
    expect(page.locator("#main")).to_contain_text("made meanwhile")
    expect(page.locator("#connection")).to_be_hidden()
    person.console.clear()  # the browser itself reports the failed requests


def test_a_page_that_is_not_there_says_so(server: Server, visit: Visit) -> None:
    person = visit(server)
    page = person.open("/runs/dev:404")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not Found")
    expect(page.locator("#main")).to_contain_text("There is no run `dev:404` that you may see.")
    person.console.clear()  # the browser itself reports the 404


def test_runs_are_filtered_where_they_are_listed_and_a_slip_is_explained(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        samples.busy_afternoon(session)
    page = visit(server).open("/runs")
    page.get_by_label("Filter").fill('params.lr = "0.001" and state = RUNNING')
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.locator("#main")).to_contain_text("resnet50 baseline")
    page.get_by_label("Filter").fill("metrics.loss <")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("At column 15: expected a value such as 0.3")
    page.get_by_label("Filter").fill("metrics.accuracy is not null")
    page.get_by_label("Order").fill("metrics.accuracy desc")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("accuracy")
