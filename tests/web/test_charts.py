"""Charts of runs with many ranks and attempts, in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from . import samples
from .conftest import Person, Server

Visit = Callable[..., Person]
STEPS = 40


def _card(page: Page, metric: str) -> Locator:
    return page.locator(".chart", has=page.get_by_role("heading", name=metric, exact=True))


def _drawn(page: Page, metric: str, points: int, asked: str = "&x=") -> Locator:
    """The card of the metric as soon as it shows so many points of the series that was asked for."""
    card = _card(page, metric)
    card.scroll_into_view_if_needed()
    expect(card.locator(".plot")).to_have_attribute("data-points", str(points))
    expect(card.locator(".plot")).to_have_attribute("data-from", re.compile(re.escape(asked)))
    expect(card.locator("canvas")).to_have_count(1)
    return card


def test_ranks_and_attempts_are_chosen_without_a_reload(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.resumed_twice(session, steps=STEPS)
    page = visit(server).open(f"/runs/{run.id}")
    page.evaluate("window.sameDocument = true")
    ranks = page.get_by_role("navigation", name="Ranks")
    card = _drawn(page, "loss", 2 * STEPS)
    expect(card.locator(".unseen-points")).to_have_text("hidden40")
    expect(ranks.get_by_role("link", name="rank 0")).to_have_attribute("aria-current", "true")

    ranks.get_by_role("link", name="all ranks").click()
    card = _drawn(page, "loss", 2 * STEPS, "rank=all")
    expect(page).to_have_url(re.compile(r"\?rank=all$"))
    expect(ranks.get_by_role("link", name="all ranks")).to_have_attribute("aria-current", "true")
    card.locator(".u-over").hover()
    expect(card.locator(".readout")).to_have_text(re.compile(r"^step \d+: [\d.]+ · rank \d on n[12]$"))

    ranks.get_by_role("link", name="mean and range").click()
    card = _drawn(page, "loss", 2 * STEPS, "rank=mean")
    card.locator(".u-over").hover()
    expect(card.locator(".readout")).to_have_text(re.compile(r"^step \d+: [\d.]+, [\d.]+ to [\d.]+ · mean of 8 ranks$"))

    page.get_by_role("link", name="time", exact=True).click()
    _drawn(page, "loss", 2 * STEPS, "x=time&max_points=1000&rank=mean")
    ranks.get_by_role("link", name="rank 0").click()
    page.get_by_role("link", name="step", exact=True).click()
    page.get_by_role("link", name="all attempts").click()
    card = _drawn(page, "loss", 3 * STEPS, "attempts=all")
    expect(card.locator(".unseen-points")).to_be_hidden()
    expect(page.get_by_role("link", name="all attempts")).to_have_attribute("aria-current", "true")
    card.locator(".u-over").hover(position={"x": 5, "y": 40})
    expect(card.locator(".readout")).to_have_text(re.compile(r"· rank 0 on n1, attempt 1$"))
    page.go_back()
    _drawn(page, "loss", 2 * STEPS)
    assert page.evaluate("window.sameDocument") is True


def test_a_view_can_be_sent_to_a_colleague(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.resumed_twice(session, ranks=3, steps=STEPS)
    person = visit(server, "bob")
    page = person.open(f"/runs/{run.id}?rank=2&attempts=all")
    expect(page.get_by_role("link", name="rank 2")).to_have_attribute("aria-current", "true")
    _drawn(page, "loss", 3 * STEPS, "rank=2&attempts=all")
    expect(_card(page, "val/loss")).to_contain_text("no metric `val/loss` by rank 2")
    page.get_by_role("link", name="mean and range").click()
    _drawn(page, "val/loss", 1, "rank=mean")
    person.console.clear()  # the browser itself reports the 404


def test_who_has_zoomed_in_stays_there_when_the_ranks_change(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.resumed_twice(session, steps=STEPS)
    page = visit(server).open(f"/runs/{run.id}")
    over = _drawn(page, "loss", 2 * STEPS).locator(".u-over")
    box = over.bounding_box() or {}
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60, steps=4)
    page.mouse.up()
    page.get_by_role("link", name="mean and range").click()
    card = _drawn(page, "loss", 2 * STEPS, "rank=mean")
    card.locator(".u-over").hover(position={"x": 3, "y": 60})
    expect(card.locator(".readout")).to_have_text(re.compile(r"^step (39|40|41):"))


def test_who_zooms_in_sees_the_points_that_the_whole_chart_left_out(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss", [1.0 / (1 + step) for step in range(20_000)])
    page = visit(server).open(f"/runs/{run.id}")
    card = _drawn(page, "loss", 20_000)
    box = card.locator(".u-over").bounding_box() or {}
    for x in (0.5, 0.53):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + 60)
        page.mouse.down() if x == 0.5 else page.mouse.up()
    plot = card.locator(".plot")
    expect(plot).to_have_attribute("data-from", re.compile(r"&x_min=\d.*&x_max=\d"))
    points = int(plot.get_attribute("data-points") or 0)
    assert 200 < points < 1000  # all that there are in that part
    card.locator(".u-over").dblclick()
    _drawn(page, "loss", 20_000)
    expect(plot).not_to_have_attribute("data-from", re.compile("x_min"))


def test_a_long_series_is_drawn_as_its_mean_within_its_range_and_a_short_one_as_it_is(
    server: Server, visit: Visit
) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "long", [step % 2 for step in range(20_000)])
        samples.log(session, run, "short", [step % 2 for step in range(20)])
    page = visit(server).open(f"/runs/{run.id}")
    for metric, points, told in (
        ("long", 20_000, r"^step \d[\d,]*: 0\.5, 0 to 1$"),
        ("short", 20, r"^step \d+: [01]$"),
    ):
        card = _drawn(page, metric, points, "thin=mean")
        card.locator(".u-over").hover(position={"x": 100, "y": 60})
        expect(card.locator(".readout")).to_have_text(re.compile(told))


def test_a_point_that_is_alone_stands_in_the_middle_of_a_minute(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss", [0.5])
    page = visit(server).open(f"/runs/{run.id}?x=time")
    over = _drawn(page, "loss", 1).locator(".u-over")
    over.hover(position={"x": 20, "y": 60})
    expect(over.locator(".u-cursor-pt")).to_be_visible()
    point, room = over.locator(".u-cursor-pt").bounding_box() or {}, over.bounding_box() or {}
    assert abs(point["x"] + point["width"] / 2 - room["x"] - room["width"] / 2) < 3


def test_a_run_whose_points_were_thinned_or_removed_says_so(server: Server, visit: Visit) -> None:
    for kept, word in (("thinned", "thinned to save room"), ("none", "removed to save room"), ("all", "")):
        with server.database.write() as session:
            run = samples.add_run(session, points_kept=kept, state="COMPLETED", took_s=5)
            samples.log(session, run, "loss", [0.5])
        page = visit(server).open(f"/runs/{run.id}")
        if word:
            expect(page.locator("#points-kept")).to_contain_text(word)
        else:
            expect(page.locator("#points-kept")).to_have_count(0)
        api = server.ask(f"/api/v1/runs/{run.id}", token=server.token()).json
        chart = server.ask(f"/api/v1/runs/{run.id}/series?metric=loss", token=server.token()).json
        assert (api["points_kept"], chart.get("points_kept", "all")) == (kept, kept)


def test_a_machine_has_a_line_for_each_node_over_time(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.resumed_twice(session, steps=STEPS)
    page = visit(server).open(f"/runs/{run.id}?rank=mean")
    card = _drawn(page, "system/cpu.percent", 180, "x=time")
    told = set()
    for y in (5, 125):
        card.locator(".u-over").hover(position={"x": 100, "y": y})
        expect(card.locator(".readout")).to_have_text(re.compile(r"· n[12]$"))
        told.add(card.locator(".readout").inner_text()[-2:])
    assert told == {"n1", "n2"}


def test_where_there_is_nothing_to_choose_nothing_is_offered(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss", [3.0, 2.0])
        samples.log(session, run, "loss", [1.0], first_step=2, restarts=1)
    page = visit(server).open(f"/runs/{run.id}?rank=nonsense&attempts=%00")
    _drawn(page, "loss", 3)
    expect(page.get_by_role("navigation", name="Ranks")).to_have_count(0)
    expect(page.get_by_role("navigation", name="Attempts")).to_have_count(0)
    expect(page.locator(".unseen-points")).to_be_hidden()


def test_more_lines_than_a_chart_can_have_are_told(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        for rank in range(70):
            samples.log(session, run, "loss", [3.0 + rank, 2.0], rank=rank)
    page = visit(server).open(f"/runs/{run.id}?rank=all")
    card = _drawn(page, "loss", 2, "rank=all")
    expect(card.locator(".left-out")).to_have_text("lines not drawn6")


def test_bytes_are_told_in_units_of_people(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "system/memory_bytes", [512.0 * 2**20, 1.5 * 2**30])
        samples.log(session, run, "io_bytes_per_s", [0.0, 2048.0])
    page = visit(server).open(f"/runs/{run.id}")
    for metric, last, least, read in (
        ("system/memory_bytes", "1.5 GiB", "512 MiB", r": 512 MiB$"),
        ("io_bytes_per_s", "2 KiB/s", "0 B/s", r"^step 0: 0 B/s$"),
    ):
        card = _card(page, metric)
        expect(card.locator(".last")).to_have_text(last)
        expect(card.locator(".range")).to_contain_text(f"min{least}max{last}")
        card.locator(".u-over").hover(position={"x": 3, "y": 60})
        expect(card.locator(".readout")).to_have_text(re.compile(read))


def test_the_mean_of_all_ranks_is_not_asked_for_at_each_point(server: Server, visit: Visit) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, state="RUNNING")
        for rank in (0, 1):
            samples.log(session, run, "loss", [3.0], rank=rank)
    page = visit(server).open(f"/runs/{run.id}?rank=mean")
    _drawn(page, "loss", 1, "rank=mean")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/series?" in request.url else None)
    began_s = time.monotonic()
    for step in range(1, 5):
        with server.database.write() as session:
            samples.log(session, run, "loss", [2.0], first_step=step)
        expect(_card(page, "loss")).to_have_attribute("data-count", str(step + 2))
    assert len(asked) <= 1 + (time.monotonic() - began_s) / 4
    _drawn(page, "loss", 5, "rank=mean")
