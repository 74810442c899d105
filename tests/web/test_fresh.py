"""Pages hear of changes by the stream and ask for nothing while nothing changes; where no stream comes, they ask."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import wait_until
from tests.ports import free_ports
from web.stream import hub

from .conftest import Listening, Person, Server
from .test_changes import new_run, send

Visit = Callable[..., Person]
NEWS = "#live[data-news=on]"


def asked(page: Page) -> list[str]:
    """The requests of a page for its changing part, as they are made."""
    made: list[str] = []
    page.on("request", lambda request: made.append(request.url) if "fragment=1" in request.url else None)
    return made


def log(server: Server, run_id: str, *values: float) -> None:
    points = {"points": [{"metric": "loss", "value": value} for value in values]}
    assert send(server, "POST", f"/runs/{run_id}/metrics", points).status == 200


def test_a_change_is_seen_soon_and_rest_costs_nothing(
    server: Server, visit: Visit, listen: Callable[..., Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "BEAT_EVERY_S", 1.0)
    run, other = new_run(server, name="followed"), new_run(server, name="another")
    page = visit(server).open(f"/runs/{run['id']}")
    expect(page.locator(NEWS)).to_be_attached()
    client = listen(server)
    client.next("ready")
    client.next("beat")
    requests = asked(page)
    log(server, other["id"], 1.0)
    for _ in range(4):  # four seconds in which nothing of this run changes
        client.next("beat")
    assert len(requests) <= 1  # the one after `ready` may have been on its way
    log(server, run["id"], 0.5, 0.25)
    expect(page.locator(".plot[data-points='2']")).to_be_attached()
    send(server, "PATCH", f"/runs/{run['id']}", {"state": "FAILED", "reason": "no more data"})
    expect(page.locator(".run-state")).to_contain_text("failed", ignore_case=True)
    assert len(requests) <= 8  # as often as it changed, not each second


def test_lists_hear_of_runs_that_begin_and_end(prefixed_server: Server, visit: Visit) -> None:
    person = visit(prefixed_server)
    page = person.open("/runs")
    expect(page.locator(NEWS)).to_be_attached()
    run = new_run(prefixed_server, name="from elsewhere")
    expect(page.locator(f"[id$='{run['id']}']")).to_contain_text("running", ignore_case=True)
    send(prefixed_server, "PATCH", f"/runs/{run['id']}", {"state": "COMPLETED"})
    expect(page.locator(f"[id$='{run['id']}']")).to_contain_text("completed", ignore_case=True)


def test_without_news_the_page_asks_each_second(server: Server, visit: Visit) -> None:
    person = visit(server)
    person.page.route("**/api/v1/stream", lambda _route: None)  # a proxy that passes nothing on
    page = person.open("/")
    run = new_run(server, name="seen all the same")
    expect(page.locator("#main")).to_contain_text("seen all the same")
    assert page.locator(NEWS).count() == 0
    send(server, "PATCH", f"/runs/{run['id']}", {"state": "COMPLETED"})
    expect(page.locator("#live")).to_contain_text("completed", ignore_case=True)


def test_a_stream_that_is_refused_or_breaks_is_done_without(server: Server, visit: Visit) -> None:
    person = visit(server)
    person.page.route("**/api/v1/stream", lambda route: route.fulfill(status=503, body="full"))
    page = person.open("/")
    new_run(server, name="the first")
    expect(page.locator("#main")).to_contain_text("the first")
    expect(page.locator("#live[data-news=off]")).to_be_attached()
    page.unroute("**/api/v1/stream")
    cut = 'event: ready\nid: 1\ndata: {"as_of": "2026-01-01T00:00:00Z"}\n\n'
    page.route("**/api/v1/stream", lambda route: route.fulfill(content_type="text/event-stream", body=cut))
    page.reload()
    new_run(server, name="the second")
    expect(page.locator("#main")).to_contain_text("the second")
    person.console.clear()  # the browser itself reports the 503


def test_a_hidden_page_rests_and_is_fresh_when_it_is_seen(server: Server, visit: Visit) -> None:
    page = visit(server).open("/")
    expect(page.locator(NEWS)).to_be_attached()
    hide = "(hidden) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true }); "
    hide += "document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    expect(page.locator("#live[data-news=off]")).to_be_attached()
    requests = asked(page)
    new_run(server, name="made meanwhile")
    with page.expect_request("**/api/v1/stream"):
        assert requests == []
        page.evaluate(hide, False)
    expect(page.locator("#main")).to_contain_text("made meanwhile")
    expect(page.locator(NEWS)).to_be_attached()


NGINX = """
daemon off; user root; pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}
http {{ access_log off; {places} server {{ listen 127.0.0.1:{port}; location /hpc/tracker/ {{
    proxy_pass {server}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering on;
    proxy_set_header Host $http_host; proxy_set_header SCRIPT_NAME /hpc/tracker;
}} }} }}
"""


@pytest.fixture
def behind_nginx(real_server: tuple[Server, Path], tmp_path: Path) -> Iterator[Server]:
    """`tracker server` under a prefix behind an nginx that knows nothing of streams and would hold answers back."""
    (port,), server = free_ports(1), real_server[0]
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{name}_temp_path {tmp_path}/{name};" for name in temporary)
    told = NGINX.format(folder=tmp_path, places=places, port=port, server=server.url)
    (tmp_path / "nginx.conf").write_text(told)
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", tmp_path / "nginx.conf", "-p", tmp_path])
    proxied = Server(f"http://127.0.0.1:{port}/hpc/tracker", server.database)

    def answers() -> bool:
        try:
            return proxied.ask("/readyz").status == 200
        except OSError:
            return False

    wait_until(answers)
    yield proxied
    nginx.terminate()
    nginx.wait()


def test_news_come_through_a_proxy_that_buffers(behind_nginx: Server, visit: Visit) -> None:
    run = new_run(behind_nginx)
    page = visit(behind_nginx).open(f"/runs/{run['id']}")
    expect(page.locator(NEWS)).to_be_attached()
    log(behind_nginx, run["id"], 0.5, 0.25, 0.125)
    expect(page.locator(".plot[data-points='3']")).to_be_attached()
    send(behind_nginx, "PATCH", f"/runs/{run['id']}", {"state": "COMPLETED"})
    expect(page.locator(".run-state")).to_contain_text("completed", ignore_case=True)
    assert page.locator(NEWS).count() == 1
