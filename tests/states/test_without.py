"""Without hooks, without slurmdbd, without root: jobs have their right ends, and what is missing is said plainly."""

from __future__ import annotations

import html
import json

from tests.states.ends import FOR_EVER
from tests.states.own import Own, own_tracker
from tests.states.stage import Stage
from tracker.slurm.missing import SENTENCES


def says_that_it_lacks(own: Own, *lacks: str) -> None:
    """On the cluster's page and by `tracker doctor`."""
    page = html.unescape(own.page("/cluster"))
    findings = {one["name"]: one for one in json.loads(own.tracker("doctor", "--json"))}
    assert findings["slurm"]["ok"]
    for lack, sentence in SENTENCES.items():
        assert (lack in findings) == (lack in lacks), findings
        assert (sentence.split("`")[0].split('"')[0] in page) == (lack in lacks), sentence
        assert lack not in lacks or findings[lack]["detail"] == sentence


def test_without_root_and_hooks(stage: Stage) -> None:
    with stage.without_hooks(), own_tracker(stage) as own:
        of_bob = stage.submit("true", user="bob")
        failed = stage.submit("exit 3", "--gres=gpu:1", node=stage.cluster.nodes[0])
        cancelled = stage.submit(FOR_EVER)
        own.until(cancelled, "RUNNING")
        stage.as_root("scancel", str(cancelled))
        run = own.until(failed, "FAILED", "accounting")
        assert run["exit_code"] == 3
        assert [(one["gpu_count"], one["gpus"]) for one in run["attempts"]] == [(1, [])]
        assert own.until(cancelled, "CANCELLED", "accounting")["reason"] == "by root"
        assert of_bob not in own.jobs()
        says_that_it_lacks(own, "hooks", "others")
        assert "tracker_slurm_questions_last_hour" in own.page("/metrics")
        assert "times in the last hour, however many people look" in own.page("/cluster")


def test_without_slurmdbd(stage: Stage) -> None:
    stage.cluster.stop_server()
    with stage.without_accounting(), own_tracker(stage) as own:
        failed = stage.submit("exit 3")
        cancelled = stage.submit(FOR_EVER)
        own.until(cancelled, "RUNNING")
        stage.as_root("scancel", str(cancelled))
        assert own.until(failed, "FAILED", "controller")["exit_code"] == 3
        assert own.until(cancelled, "CANCELLED", "controller")["reason"] is None
        says_that_it_lacks(own, "accounting", "others")
