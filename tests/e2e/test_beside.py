"""What a job logs beside numbers, from its node to the API."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from typing import Any

from tests.conftest import wait_until
from tests.e2e.conftest import Site

JOB = """exec python - <<'END'
import numpy, tracker

class Figure:  # matplotlib is not in the lab; the client asks its figures for no more
    def savefig(self, file, format):
        tracker_image = numpy.zeros((4, 4), numpy.uint8)
        from tracker.client import images
        file.write(images.encoded(tracker_image)[0])

tracker.log({"loss": 0.5}, step=3)
tracker.log_image("picture", numpy.eye(8))
tracker.log_figure("figure", Figure())
tracker.log_histogram("weights", numpy.linspace(-1, 1, 1000))
tracker.log_table("errors", ["id", "word"], [[1, "cat"], [2, "dog"]])
open("model.pt", "w").write("weights")
tracker.log_artifact("model.pt")
tracker.log_artifact("model.pt", name="kept.pt", copy=True)
END"""


def test_a_job_logs_more_than_numbers(site: Site) -> None:
    job = site.sbatch(JOB, "-J", "beside")
    run = site.await_truth(job)
    assert run["state"] == "COMPLETED", site.log(run, "stderr") + site.log(run)

    def told(what: str) -> list[dict[str, Any]]:
        return list(site.api(f"/runs/{run['id']}/{what}")["items"])

    wait_until(lambda: len(told("media")) == 4 and len(told("artifacts")) == 2, what="all of it is there")
    assert {(one["kind"], one["name"], one["step"]) for one in told("media")} == {
        ("image", "picture", 3), ("image", "figure", 3), ("histogram", "weights", 3), ("table", "errors", 3),
    }  # fmt: skip
    digest = hashlib.sha256(b"weights").hexdigest()
    found = {one["name"]: one for one in told("artifacts")}
    assert {name: (one["path"], one["sha256"]) for name, one in found.items()} == {
        "model.pt": ("/home/alice/model.pt", digest), "kept.pt": ("/home/alice/model.pt", digest),
    }  # fmt: skip
    assert found["model.pt"]["copied_to"] is None
    store = found["kept.pt"]["copied_to"]
    assert site.cluster.run_as("alice", ["cat", f"{store}/sha256/{digest[:2]}/{digest[2:]}"]).stdout == "weights"
    contents = {one["name"]: _content(site, run, one["id"]) for one in told("media")}
    assert contents["picture"].startswith(b"\x89PNG")
    assert json.loads(contents["errors"])["rows"] == [[1, "cat"], [2, "dog"]]
    assert sum(json.loads(contents["weights"])["counts"]) == 1000


def _content(site: Site, run: dict[str, Any], medium: str) -> bytes:
    address = f"{site.env['TRACKER_URL']}/api/v1/runs/{run['id']}/media/{medium}"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {site.env['TRACKER_TOKEN']}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())
