"""A sweep in one job: each try is a run of its own beside that of the job."""

from __future__ import annotations

import urllib.parse

from tests.conftest import wait_until
from tests.e2e.conftest import Site

SWEEP = """exec python - <<'END'
import os, signal, tracker
for lr in (0.1, 0.01):
    run = tracker.init(new=True, name=f"beside {lr}", params={"lr": lr})
    for step in range(20):
        run.log({"loss": lr / (step + 1)}, step=step)
    run.finish()
left = tracker.init(new=True, name="beside left")
left.log({"loss": 1})
tracker.log({"tries": 3})
os.kill(os.getpid(), signal.SIGKILL)
END"""


def test_each_try_of_a_sweep_is_a_run_and_none_stays_running(site: Site) -> None:
    job = site.sbatch(SWEEP, "-J", "sweep")
    own = site.await_truth(job)
    assert own["state"] == "FAILED"
    asked = urllib.parse.urlencode({"filter": 'name like "beside %"', "order_by": "name"})

    def ended() -> list[dict[str, object]]:
        found = [run for run in site.api(f"/runs?{asked}")["items"] if run["parent_id"] == own["id"]]
        return found if len(found) == 3 and all(run["ended_at"] for run in found) else []

    runs = wait_until(ended, what="three runs beside that of the job, all at their end")
    assert [(run["name"], run["state"], run["user"]) for run in runs] == [  # type: ignore[attr-defined]
        ("beside 0.01", "COMPLETED", "alice"),
        ("beside 0.1", "COMPLETED", "alice"),
        ("beside left", "LOST", "alice"),
    ]
    assert [run["summary"]["loss"]["count"] for run in runs] == [20, 20, 1]  # type: ignore[attr-defined]
    own = site.run(job) or {}
    assert list(own["summary"]) == ["tries"]
