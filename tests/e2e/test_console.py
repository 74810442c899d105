"""What jobs print, and what they are told, on a real Slurm."""

from __future__ import annotations

import json

from tests.conftest import wait_until
from tests.e2e.conftest import Site

# Not %N: it is the machine's name, which all nodes of the throwaway cluster share, and no node's.
PATTERNS = ["%j", "%4j", "%12j", "%A", "%J", "%n", "%s", "%t", "%u", "%8u", "%x", "%8x", "%%-%j", "%j%%"]
ARRAY_PATTERNS = ["%A_%a", "%4A_%3a", "%j-%a", "%x.%a"]
WHERE = "readlink /proc/self/fd/2 > /home/alice/where-$SLURM_JOB_ID"


def _submitted(site: Site, number: int, pattern: str, *words: str) -> int:
    return site.sbatch(WHERE, "-J", "console", "-o", f"/home/alice/{number}-{pattern}.txt", *words)


def test_the_file_behind_every_pattern_of_sbatch_is_found(site: Site) -> None:
    names: dict[str, int | str] = {}
    for number, pattern in enumerate(PATTERNS):
        names[pattern] = _submitted(site, number, pattern)
    for number, pattern in enumerate(ARRAY_PATTERNS, start=len(PATTERNS)):
        names[pattern] = f"{_submitted(site, number, pattern, '--array=7')}_7"
    wrong = {}
    for pattern, name in names.items():
        run = site.await_truth(name)
        written = site.as_root("cat", f"/home/alice/where-{run['job_id']}").strip()
        found = wait_until(lambda: site.output(run["id"]).get("path"), what="the place of the output is known")  # noqa: B023
        if written != found:
            wrong[pattern] = (written, found)
    assert wrong == {}


def test_a_new_time_limit_reaches_the_job(site: Site) -> None:
    job = site.sbatch("cat >/dev/null; sleep 60", "-t", "30")
    run = site.await_state(job, "RUNNING")
    node = run["attempts"][0]["nodes"][0]

    def told() -> float:
        file = site.cluster.at.spool(node) / "jobs" / f"{site.cluster.at.name}.{job}" / "told.json"
        return float(json.loads(file.read_text()).get("ends_at", 0)) if file.exists() else 0

    before = float(str(wait_until(told, what="the job is told when it ends")))
    site.as_root("scontrol", "update", f"JobId={job}", "TimeLimit=45")
    wait_until(lambda: abs(told() - before - 15 * 60) < 5, what="the new limit arrives")
    site.as_root("scancel", str(job))


def test_a_progress_bar_is_followed_and_shows_its_last_state(site: Site) -> None:
    job = site.sbatch(r'for i in 1 2 3 4 5 6; do printf "\r%3d%%" $i; sleep 0.5; done; echo; echo done')
    run = site.await_truth(job)
    wait_until(lambda: "done" in site.log(run))
    assert site.log(run) == "  6%\ndone\n"


def test_its_text_is_still_there_when_the_file_is_gone(site: Site) -> None:
    """One file is removed when all is over, one by the job itself; what stays was printed, or a word says why not."""
    job = site.sbatch("echo kept", "-o", "/home/alice/kept.out")
    run = site.await_truth(job)
    wait_until(lambda: site.output(run["id"]).get("complete"))
    site.as_root("rm", "/home/alice/kept.out")
    hasty = site.sbatch("echo kept, too; sleep 6; rm /home/alice/hasty.out", "-o", "/home/alice/hasty.out")
    site.await_truth(hasty)
    wait_until(lambda: site.output(f"{site.cluster.at.name}:{hasty}").get("problem"))
    for name, text in ((job, "kept\n"), (hasty, "kept, too\n")):
        answer = site.output(f"{site.cluster.at.name}:{name}")
        assert (answer["text"], answer["left_out_bytes"]) == (text, 0)
