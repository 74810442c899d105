"""Artifacts and media in the API and on a run's page, harmless whatever they hold."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.agent_side import Agent, lines
from tracker.settings import Settings
from tracker.store.database import Database
from web.headers import NOTHING_BUT_ITSELF

from . import samples
from .conftest import Person, Server

Visit = Callable[..., Person]

FOLDER = "dev.4711"


def png(red: int, green: int, blue: int, side: int = 48) -> bytes:
    """A picture with a gradient of this colour."""
    rows = b"".join(
        b"\0" + b"".join(bytes((red * x // side, green * y // side, blue)) for x in range(side)) for y in range(side)
    )
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    packed = (
        struct.pack(">I", len(raw)) + kind + raw + struct.pack(">I", zlib.crc32(kind + raw)) for kind, raw in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def image(name: str, step: int, raw: bytes) -> dict[str, Any]:
    data = base64.b64encode(raw).decode()
    return {"event": "media", "kind": "image", "name": name, "step": step, "data": data, "time": 1.7e9 + step}


def histogram(name: str, step: int) -> dict[str, Any]:
    wide = 2 - step / 50
    counts = [round(1000 * math.exp(-(((bin - 32) / 10) ** 2))) for bin in range(64)]
    told = {"event": "media", "kind": "histogram", "name": name, "step": step, "time": 1.7e9 + step}
    return told | {"low": -wide, "high": wide, "counts": counts}


def table(name: str, step: int, rows: list[list[Any]]) -> dict[str, Any]:
    told = {"event": "media", "kind": "table", "name": name, "step": step, "time": 1.7e9 + step}
    return told | {"columns": ["id", "truth", "guess", "score"], "rows": rows, "row_count": len(rows)}


def artifact(id: str, **more: Any) -> dict[str, Any]:
    told = {
        "event": "artifact",
        "id": id,
        "name": f"{id}.pt",
        "path": f"/scratch/alice/{id}.pt",
        "size_bytes": 123_456_789,
    }
    return told | {"mtime": 1.7e9, "time": 1.7e9, "step": 10} | more


def log(db: Database, *said: dict[str, Any], writer: str = "w1", offset: int = 0) -> int:
    """Deliver lines of the run's job; the offset that is held then."""
    return int(Agent(db).send(lines(FOLDER, *said, writer=writer, offset=offset))["parts"][0]["offset"])


def a_run(server: Server, **facts: Any) -> str:
    with server.database.write() as session:
        run = samples.add_run(session, job_id=4711, name="with media", **facts)
        samples.curves(session, run, 100)
    return run.id


def everything(server: Server) -> str:
    """A run with media of each kind and artifacts of each fate."""
    run_id = a_run(server)
    errors = [[number, "cat", "dog", 0.5 + number / 1000] for number in range(300)]
    log(
        server.database,
        *(image("samples/generated", step, png(5 * step, 255 - 5 * step, 128)) for step in range(0, 50, 5)),
        image("confusion", 40, png(40, 90, 200, 96)),
        *(histogram("layer1/weights", step) for step in range(0, 50, 2)),
        histogram("initial", 0),
        table("errors", 10, errors), table("errors", 20, errors[:7]),
        artifact("last", sha256="ab" * 32),
        artifact("best", sha256="cd" * 32, copied_to="s3://bucket/team"),
        artifact("huge", size_bytes=104_857_600_000),
        artifact("checkpoint", path="/scratch/alice/" + "very-long-folder-name/" * 8, file_count=12),
    )  # fmt: skip
    return run_id


def test_the_api_lists_media_and_gives_each_for_ever(server: Server) -> None:
    run_id = everything(server)
    token = server.token()
    listed = server.ask(f"/api/v1/runs/{run_id}/media?kind=image", token=token).json["items"]
    assert [(one["name"], one["step"]) for one in listed] == [
        ("confusion", 40), *(("samples/generated", step) for step in range(0, 50, 5)),
    ]  # fmt: skip
    answer = server.ask(f"/api/v1/runs/{run_id}/media/{listed[0]['id']}", token=token)
    assert answer.body == png(40, 90, 200, 96)
    told = {name: answer.headers[name] for name in ("Content-Type", "Cache-Control", "X-Content-Type-Options")}
    assert told == {
        "Content-Type": "image/png", "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    assert answer.headers["Content-Security-Policy"] == NOTHING_BUT_ITSELF
    (_, errors) = server.ask(f"/api/v1/runs/{run_id}/media?name=errors", token=token).json["items"]
    shown = server.ask(f"/api/v1/runs/{run_id}/media/{errors['id']}", token=token)
    assert shown.headers["Content-Type"] == "application/json"
    assert shown.json["rows"][0] == [0, "cat", "dog", 0.5]
    again = server.ask(f"/api/v1/runs/{run_id}/media/{errors['id']}", token=token, If_None_Match=shown.headers["ETag"])
    assert again.status == 304


def test_the_api_gives_histograms_over_steps(server: Server) -> None:
    run_id = everything(server)
    told = server.ask(f"/api/v1/runs/{run_id}/media/histograms?name=layer1/weights&max_steps=10", token=server.token())
    assert (told.json["count"], told.json["steps"][-1]) == (25, 48)
    assert len(told.json["steps"]) == len(told.json["counts"]) <= 10
    assert all(len(counts) == 64 for counts in told.json["counts"])


def test_the_api_tells_of_artifacts_and_their_files(server: Server) -> None:
    run_id = a_run(server)
    files = [{"path": "a", "size_bytes": 1, "sha256": "ab" * 32}, {"path": "b", "size_bytes": 2}]
    log(server.database, artifact("one"), artifact("two", file_count=2, files=files, time=1.7e9 + 1))
    token = server.token()
    listed = server.ask(f"/api/v1/runs/{run_id}/artifacts", token=token).json["items"]
    assert [(one["id"], one["path"], one["file_count"]) for one in listed] == [
        ("two", "/scratch/alice/two.pt", 2), ("one", "/scratch/alice/one.pt", None),
    ]  # fmt: skip
    assert "files" not in listed[0]
    assert server.ask(f"/api/v1/runs/{run_id}/artifacts/two", token=token).json["files"] == [
        files[0], {**files[1], "sha256": None},
    ]  # fmt: skip


def test_nobody_sees_media_and_artifacts_of_others(server: Server) -> None:
    run_id = everything(server)
    alice, bob = server.token("alice"), server.token("bob")
    (medium, *_) = server.ask(f"/api/v1/runs/{run_id}/media", token=alice).json["items"]
    paths = ("media", f"media/{medium['id']}", "media/histograms?name=initial", "artifacts", "artifacts/last")
    for path in (*paths, "artifacts/last/content"):
        assert server.ask(f"/api/v1/runs/{run_id}/{path}", token=bob).status == 404
    for path in paths:
        assert server.ask(f"/api/v1/runs/{run_id}/{path}", token=alice).status == 200


@pytest.mark.parametrize(
    "path", ["media/x", "media/w1.99999", "media/%00.1", "media/w1.-5", "media/histograms?name=none", "artifacts/none"]
)
def test_what_is_not_there_is_not_found(server: Server, path: str) -> None:
    run_id = everything(server)
    assert server.ask("/api/v1/runs/%00:12/media", token=server.token("alice")).status == 404
    assert server.ask(f"/api/v1/runs/{run_id}/{path}", token=server.token("alice")).status == 404


def test_only_copies_of_the_runs_own_user_are_handed_out(server: Server) -> None:
    run_id = a_run(server, user="root")
    store = Path(os.path.realpath(Settings(home=os.environ["TRACKER_HOME"]).artifacts_path or ""))
    raw = {name: name.encode() * 100 for name in ("mine", "of nobody", "link")}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in raw.items()}
    for name, digest in digests.items():
        place = store / "sha256" / digest[:2] / digest[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        if name == "link":
            place.symlink_to("/etc/passwd")
        else:
            place.write_bytes(raw[name])
        if name == "of nobody":
            os.chown(place, 65534, 65534)
    copied = {"copied_to": str(store), "name": 'a/"x"\r\nSet-Cookie: y.pt'}
    part, told = lines(
        FOLDER, *(artifact(name, sha256=digest, **copied) for name, digest in digests.items()),
        artifact("gone", sha256="ab" * 32, **copied), artifact("none"),
        artifact("elsewhere", sha256=digests["mine"], copied_to="/etc"),
    )  # fmt: skip
    Agent(server.database).send(({**part, "user": "root"}, told))
    token = server.token("root", "admin")
    answers = {
        name: server.ask(f"/api/v1/runs/{run_id}/artifacts/{name.replace(' ', '%20')}/content", token=token)
        for name in (*digests, "gone", "none", "elsewhere")
    }
    assert {name: answer.status for name, answer in answers.items()} == {
        "mine": 200, "of nobody": 404, "link": 404, "gone": 404, "none": 404, "elsewhere": 404,
    }  # fmt: skip
    mine = answers["mine"]
    assert mine.body == raw["mine"]
    assert mine.headers["Content-Type"] == "application/octet-stream"
    assert mine.headers["Content-Disposition"].startswith("attachment")
    assert "Set-Cookie" not in mine.headers
    assert "There is no copy" in answers["none"].json["detail"]


def _card(page: Page, name: str) -> Any:
    card = page.locator(".medium", has=page.get_by_role("heading", name=name, exact=True))
    card.scroll_into_view_if_needed()
    return card


def test_the_page_shows_media_at_their_steps(server: Server, visit: Visit) -> None:
    run_id = everything(server)
    page = visit(server).open(f"/runs/{run_id}")
    shown = _card(page, "samples/generated")
    expect(shown.get_by_role("img", name="samples/generated at step 45")).to_be_visible()
    assert shown.locator("img").evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 48
    slider = shown.get_by_role("slider", name="Step of samples/generated")
    slider.focus()
    page.keyboard.press("Home")
    expect(shown.get_by_role("img", name="samples/generated at step 0")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(shown.locator("output")).to_have_text("step 5")

    errors = _card(page, "errors")
    expect(errors.get_by_role("table", name="errors at step 20").locator("tbody tr")).to_have_count(7)
    errors.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(errors.get_by_role("table", name="errors at step 10").locator("tbody tr")).to_have_count(200)
    expect(errors).to_contain_text("200 of 300 rows")

    weights = _card(page, "layer1/weights")
    expect(weights.get_by_role("img", name="Histograms of layer1/weights over 25 steps")).to_be_visible()
    weights.locator("canvas").hover(position={"x": 150, "y": 80})
    expect(weights.locator(".readout-line")).to_contain_text(" to ")
    expect(_card(page, "initial")).to_contain_text("numbers")


def test_new_media_appear_while_the_run_goes_on(server: Server, visit: Visit) -> None:
    run_id = a_run(server)
    held = log(
        server.database, image("a", 1, png(255, 0, 0)), image("b", 1, png(255, 0, 0)), image("b", 2, png(9, 9, 9))
    )
    page = visit(server).open(f"/runs/{run_id}")
    page.evaluate("window.sameDocument = true")
    expect(_card(page, "a").get_by_role("img", name="a at step 1")).to_be_visible()
    looked_at = _card(page, "b")
    looked_at.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(looked_at.get_by_role("img", name="b at step 1")).to_be_visible()
    more = (image("a", 2, png(0, 255, 0)), image("b", 3, png(1, 1, 1)), histogram("h", 1), artifact("late"))
    log(server.database, *more, offset=held)
    expect(_card(page, "a").get_by_role("img", name="a at step 2")).to_be_visible()
    expect(_card(page, "h").locator("canvas")).to_be_visible()
    expect(page.get_by_role("region", name="Artifacts")).to_contain_text("late.pt")
    expect(looked_at.locator(".stage")).to_have_attribute("data-shown", "3")
    expect(looked_at.get_by_role("img", name="b at step 1")).to_be_visible()  # who looks at a step stays there
    assert page.evaluate("window.sameDocument") is True


def test_artifacts_say_where_they_lie_and_what_is_known(server: Server, visit: Visit) -> None:
    run_id = everything(server)
    page = visit(server).open(f"/runs/{run_id}")
    card = page.get_by_role("region", name="Artifacts")
    item = {name: card.get_by_role("listitem").filter(has_text=f"{name}.pt") for name in ("last", "best", "huge")}
    expect(item["last"]).to_contain_text("/scratch/alice/last.pt")
    expect(item["last"]).to_contain_text("118 MiB")
    expect(item["last"]).to_contain_text("sha256 ababababab")
    expect(item["last"]).to_contain_text("in place")
    expect(item["best"]).to_contain_text("copied to s3://bucket/team")
    expect(item["huge"]).to_contain_text("97.7 GiB")
    expect(item["huge"]).to_contain_text("digest not computed yet")
    expect(card).to_contain_text("12 files")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    item["last"].get_by_role("button", name="Copy the path of last.pt").click()
    expect(item["last"].get_by_role("button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "/scratch/alice/last.pt"


def test_hostile_media_harm_nobody(server: Server, visit: Visit) -> None:
    run_id = a_run(server)
    fake = b"\x89PNG\r\n\x1a\n<html><script>document.body.dataset.hacked = 1</script>"
    said: list[dict[str, Any]] = [image("fake", 1, fake)]
    for name in samples.HOSTILE:
        said += [image(name, 1, png(1, 2, 3)), histogram(name, 1), table(name, 1, [[name, name, None, {"a": name}]])]
        said += [artifact(name[:60], name=name, path=name, copied_to=name, problem=name)]
        said[-2]["columns"][1] = name
    log(server.database, *said)
    person = visit(server)
    page = person.open(f"/runs/{run_id}")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    expect(_card(page, "fake")).to_contain_text("This image is broken.")
    for card in page.locator(".medium").all():
        card.scroll_into_view_if_needed()
        expect(card.locator(".stage")).to_have_attribute("data-shown", "1")
    assert page.evaluate("document.body.dataset.hacked") is None
    assert "\u202e" not in page.locator("#main").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    (listed,) = server.ask(f"/api/v1/runs/{run_id}/media?name=fake", token=server.token("alice")).json["items"]
    page.goto(f"{server.url}/api/v1/runs/{run_id}/media/{listed['id']}")
    assert page.evaluate("document.body.dataset.hacked") is None
    assert page.evaluate("document.contentType") == "image/png"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_media_fit_on_a_phone(server: Server, visit: Visit, scheme: str) -> None:
    run_id = everything(server)
    phone = visit(server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme=scheme)
    page = phone.open(f"/runs/{run_id}")
    for name, count in (("samples/generated", "10"), ("errors", "2"), ("layer1/weights", "25")):
        expect(_card(page, name).locator(".stage")).to_have_attribute("data-shown", count)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_a_page_without_scripts_shows_the_last_images(server: Server, visit: Visit) -> None:
    run_id = everything(server)
    page = visit(server, java_script_enabled=False).open(f"/runs/{run_id}")
    assert page.get_by_role("img", name="samples/generated at step 45").count() == 1
    assert page.get_by_role("link", name="table of step 20, as JSON").count() == 1
