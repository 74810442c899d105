"""What happened to a run, as a picture and in words; who had which GPU."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from playwright.sync_api import expect

from tracker.store import gpus
from tracker.store.tables import Attempt, Moment, Suspension

from . import samples
from .conftest import Person, Server

Visit = Callable[..., Person]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def preempted(server: Server) -> str:
    """A run in its second attempt, which was suspended for a while; its id."""
    with server.database.write() as session:
        samples.add_cluster(session)
        run = samples.add_run(session, name=samples.SCRIPT, age_s=9000, gpus={"n1": [1]}, job_id=77)
        began = run.submitted_at
        assert began is not None
        first = session.get_one(Attempt, (run.id, 1))
        first.ended_at, first.state = began + timedelta(seconds=3600), "REQUEUED"
        first.start_source = first.end_source = "accounting"
        again = {"started_at": began + timedelta(seconds=5000), "ended_at": None, "start_source": "controller"}
        samples.add_attempt(session, run, {"n1": [1], "n2": [0]}, number=2, **again)
        for seconds, word in ((2, "Priority"), (3602, "BeginTime"), (3720, samples.SCRIPT)):
            at = began + timedelta(seconds=seconds)
            session.add(Moment(run_id=run.id, kind="pending", at=at, word=word, source="controller"))
        pause = {"started_at": began + timedelta(seconds=6000), "ended_at": began + timedelta(seconds=7000)}
        session.add(Suspension(run_id=run.id, source="controller", **pause))
        session.flush()
        gpus.settle(session, [run.id])
        return run.id


def test_a_run_shows_its_attempts_waits_and_suspensions_and_who_told_them(server: Server, visit: Visit) -> None:
    run_id = preempted(server)
    page = visit(server).open(f"/runs/{run_id}")
    panel = page.get_by_role("region", name="What happened")
    first, second = panel.locator(".spans li").all()
    expect(first.get_by_role("img", name="pending (Priority)")).to_be_visible()
    expect(first).to_contain_text("running 59m 48s")
    expect(second).to_contain_text("pending (BeginTime) 1m 58s")
    expect(second).to_contain_text("suspended 16m 40s")
    bars = second.locator("rect:not(.span-none)")
    assert [bar.get_attribute("class") for bar in bars.all()] == [
        "span-pending", "span-pending", "span-pending", "span-running", "span-suspended", "span-running",
    ]  # fmt: skip
    panel.get_by_text("Each fact, and who told it").click()
    facts = panel.get_by_role("row")
    expect(facts.filter(has_text="attempt over: REQUEUED")).to_contain_text("accounting")
    expect(facts.filter(has_text="waits: Priority: other jobs come first")).to_contain_text("controller")
    assert page.evaluate("document.body.dataset.hacked") is None


def test_the_cluster_shows_who_has_a_gpu_and_leads_to_who_had_it(server: Server, visit: Visit) -> None:
    run_id = preempted(server)
    with server.database.write() as session:
        samples.add_run(session, name="beside it", gpus={"n1": [1]})
        samples.add_run(
            session, name="long ago", state="FAILED", age_s=99_000, took_s=3600, gpus={"n1": [1]}, user="bob"
        )
    page = visit(server).open("/cluster")
    node = page.locator(".node", has=page.get_by_role("heading", name="n1"))
    slot = node.get_by_role("listitem").nth(1)
    expect(slot.get_by_role("link")).to_have_count(3)  # two share it
    slot.get_by_role("link", name="Who had GPU 1 of n1").click()
    expect(page.get_by_role("heading", name="Who had GPU 1 of n1")).to_be_visible()
    rows = page.get_by_role("row")
    expect(rows.filter(has_text="long ago")).to_contain_text("1h 00m")
    expect(rows.filter(has_text="requeued")).to_contain_text("59m 48s")
    expect(rows.filter(has_text="attempt 2")).to_contain_text("has it")
    expect(page.locator(f"a[href*='{run_id}']")).to_have_count(2)


def test_both_fit_a_phone(server: Server, visit: Visit) -> None:
    run_id = preempted(server)
    person = visit(server, **PHONE)
    for path in (f"/runs/{run_id}", "/gpus?node=n1"):
        page = person.open(path)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
