"""Who is who on a real cluster: alice, bob and root are known by MUNGE, and say only what is theirs to say."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.agent_side import hook, lines, points
from tests.conftest import wait_until
from tests.e2e.conftest import Site
from tracker.credentials import new_claim
from tracker.events import INGEST_TYPE, encode_request

# A job may be quicker than the news of it.
PRINT_JOBS = """
import os, time, tracker
seen = []
while int(os.environ['SLURM_JOB_ID']) not in seen:
    time.sleep(0.2)
    seen = [run.job_id for run in tracker.Api().runs()]
print('sees', *seen)
"""


def credential(site: Site, user: str, payload: bytes | None = None) -> str:
    """One that a process of this user makes on the cluster, for its server."""
    payload = new_claim(site.cluster.url).packed() if payload is None else payload
    made = site.cluster.run_as(user, ["munge", "-S", site.cluster.at.munge_socket], stdin=payload.decode())
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def ask(site: Site, path: str, token: str | None, body: bytes | None = None, kind: str = "application/json") -> Any:
    """The status of the answer, and what it says."""
    headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"{site.cluster.url}/api/v1{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def show(site: Site, shown: str, *, agent: bool = False) -> Any:
    return ask(site, "/tokens:munge", None, json.dumps({"credential": shown, "agent": agent}).encode())


def token_of(site: Site, user: str, *, agent: bool = False) -> str:
    status, told = show(site, credential(site, user), agent=agent)
    assert status == 200, told
    return str(told["access_token"])


def deliver(site: Site, token: str, *parts: tuple[dict[str, Any], bytes], node: str | None = None) -> Any:
    agent = {"node": node or site.cluster.nodes[0], "cluster": site.cluster.at.name, "time": time.time()}
    manifest = {"version": 1, "agent": agent, "folders": []}
    manifest["parts"] = [{**part, "length": len(blob)} for part, blob in parts]
    return ask(site, "/ingest", token, encode_request(manifest, [blob for _, blob in parts]), INGEST_TYPE)


def code(told: Any, place: int = 0) -> str | None:
    return told["parts"][place].get("error", {}).get("code")  # type: ignore[no-any-return]


@contextmanager
def running(site: Site, user: str, script: str = "sleep 600", *words: str) -> Iterator[int]:
    job = site.sbatch(script, "--time=20", *words, user=user)
    try:
        site.await_state(job, "RUNNING")
        yield job
    finally:
        site.as_root("scancel", str(job))


def test_programs_of_users_read_what_is_theirs_without_any_secret(site: Site) -> None:
    """In a job, at a prompt, and by the command line."""
    python = site.cluster.at.venv / "bin" / "python"
    with running(site, "bob") as bobs:
        job = site.sbatch(f'{python} -c "{PRINT_JOBS}"; env | grep -c TRACKER_TOKEN', "--time=5")
        site.await_truth(job)
        run = site.run(job)
        assert run is not None
        wait_until(lambda: "sees" in site.log(run), 60, what=f"the job's output: {site.log(run)}")
        seen = site.log(run).split("sees", 1)[1].split()
        assert str(job) in seen
        assert str(bobs) not in seen
        assert seen[-1] == "0"  # no token in its environment
        for user, sees in (("alice", False), ("bob", True), ("root", True)):
            told = site.cluster.run_as(user, ["tracker", "ls", "--json", "-n", "200"])
            assert told.returncode == 0, told.stderr
            assert (bobs in [one["job_id"] for one in json.loads(told.stdout)]) is sees, user
        shown = site.cluster.run_as("alice", ["tracker", "show", f"{site.cluster.at.name}:{bobs}"])
        assert (shown.returncode, "There is no run" in shown.stderr) == (1, True)


def test_a_login_link_comes_from_munge(site: Site) -> None:
    told = site.cluster.run_as("alice", ["tracker", "login"])
    assert told.returncode == 0, told.stderr
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(told.stdout.strip(), timeout=30) as page:
        assert "alice" in page.read().decode()


def test_a_credential_that_was_stolen_is_worth_nothing(site: Site) -> None:
    used = credential(site, "alice")
    assert show(site, used)[0] == 200
    assert show(site, used)[0] == 401  # bob has read it on the wire
    for elsewhere in ("http://127.0.0.1:1", "http://localhost:8265", "https://bob.example.org"):
        status, told = show(site, credential(site, "alice", new_claim(elsewhere).packed()))
        assert (status, "is for" in told["detail"]) == (401, True)
    assert show(site, credential(site, "alice", b"for another program"))[0] == 401
    status, told = show(site, credential(site, "bob"))
    assert (status, told["user"], told["role"]) == (200, "bob", "user")


def test_people_report_their_own_jobs_and_forge_nothing(site: Site) -> None:
    cluster, (n1, n2) = site.cluster.at.name, site.cluster.nodes
    bob, alice = token_of(site, "bob"), token_of(site, "alice", agent=True)
    with running(site, "alice", "sleep 600", f"--nodelist={n1}") as job:
        folder = f"{cluster}.{job}"
        own = lines(folder, *points(3), writer="own")
        status, told = deliver(site, alice, own)
        assert (status, code(told)) == (200, None)
        forged = {
            "job": ({**own[0], "user": "bob"}, own[1]),
            "uid": ({**own[0], "uid": 0, "user": "root"}, own[1]),
            "user": ({**own[0], "writer": "w9"}, own[1]),
            "node": hook("prolog", job, at=time.time(), SLURM_CLUSTER_NAME=cluster, SLURMD_NODENAME=n2),
            "end": hook("epilog", job, at=time.time(), SLURM_CLUSTER_NAME=cluster, SLURMD_NODENAME=n1),
            "owner": hook("prolog", job + 5000, at=time.time(), SLURM_CLUSTER_NAME=cluster, SLURM_JOB_USER="bob"),
            "output": ({"type": "log", "folder": folder, "stream": "stdout", "offset": 0, "after": 0}, b"forged\n"),
        }
        status, told = deliver(site, bob, *forged.values())
        assert status == 200
        assert [code(told, place) for place in range(len(forged))] == ["forbidden"] * len(forged)
        assert (told["follow"], told["tell"], told["release"]) == ([], [], [])
        assert code(deliver(site, alice, forged["end"])[1]) == "forbidden"  # not even of one's own job
        assert code(deliver(site, alice, lines(f"elsewhere.{job}", *points(1)))[1]) == "not_known_yet"
        run = site.run(job)
        assert run is not None
        assert (run["state"], run["user"], run["attempts"][0]["nodes"]) == ("RUNNING", "alice", [n1])
        assert run["summary"]["loss"]["count"] == 3
        assert site.run(job + 5000) is None
    refused = site.api("/audit?action=refused&limit=100")["items"]
    assert {"bob", "alice"} <= {one["actor"] for one in refused if "ingest" in one["target"]}


def test_a_user_s_own_agent_ships_their_own_folders(site: Site) -> None:
    """As on a login node: what bob says to be alice's does not arrive, what is his does."""
    home = f"/tmp/tracker-own-{os.getpid()}"
    with running(site, "alice") as alices, running(site, "bob") as bobs:
        name = site.cluster.at.name
        script = f"""
        for job in {name}.{alices} {name}.{bobs}; do
            mkdir -p {home}/spool/jobs/$job
            echo '{{"metrics":{{"acc":0.5}},"step":1}}' > {home}/spool/jobs/$job/w1.jsonl
        done
        TRACKER_HOME={home} timeout 60 tracker agent --shared --once --cluster {name}; echo "ended with $?"
        rm -r {home}
        """
        told = site.cluster.run_as("bob", ["sh", "-c", script])
        assert "ended with 1" in told.stdout, told.stderr
        assert f"{name}.{alices}: the server cannot use this" in told.stderr
        own, others = site.run(bobs), site.run(alices)
        assert own is not None
        assert others is not None
        assert own["summary"]["acc"]["last"] == 0.5
        assert "acc" not in others["summary"]


@pytest.fixture
def keyed_node(site: Site) -> Iterator[str]:
    """A node whose agent has a key of its own, as where there is no MUNGE."""
    node, name = site.cluster.nodes[1], site.cluster.at.name
    tracker = str(site.cluster.at.venv / "bin" / "tracker")
    server = {"TRACKER_HOME": str(site.cluster.at.home), "PATH": os.environ["PATH"]}
    words = [tracker, "token", "create", "--agent", "--node", f"{name}:{node}"]
    key = subprocess.run(words, env=server, capture_output=True, text=True, check=True).stdout.strip()
    site.cluster.stop_agent(node)
    words = [tracker, "agent", "--node", node, "--cluster", name, "--spool", str(site.cluster.at.spool(node))]
    env = {"TRACKER_TOKEN": key, "TRACKER_URL": site.cluster.url, "PATH": os.environ["PATH"], "HOME": "/nowhere"}
    with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL) as agent:
        yield key
        agent.terminate()
    site.cluster.start_agent(node)


def test_where_there_is_no_munge_a_job_has_a_token_of_its_own(site: Site, keyed_node: str) -> None:
    n2 = site.cluster.nodes[1]
    wait = 'for i in $(seq 300); do [ -s "$TRACKER_SPOOL/token" ] && break; sleep 0.1; done'
    show_token = f'{wait}; stat -c "%U %a" "$TRACKER_SPOOL/token"; cat "$TRACKER_SPOOL/token"; sleep 600'
    python = f"{site.cluster.at.venv}/bin/python"
    reads = f'unset TRACKER_MUNGE_SOCKET; {wait}; {python} -c "{PRINT_JOBS}"; {show_token}'
    with running(site, "alice", reads, f"--nodelist={n2}") as job, running(site, "alice") as other:
        run = site.run(job)
        assert run is not None
        wait_until(lambda: "trj_" in site.log(run), 60, what=f"the token: {site.log(run)}")
        said = site.log(run).split()
        assert said == ["sees", str(job), "alice", "400", said[-1]]
        token, name = said[-1], site.cluster.at.name
        assert ask(site, f"/runs/{name}:{job}", token)[0] == 200
        assert ask(site, f"/runs/{name}:{other}", token)[0] == 404
        assert code(deliver(site, token, lines(f"{name}.{job}", *points(1), writer="x"))[1]) is None
        assert code(deliver(site, token, lines(f"{name}.{other}", *points(1), writer="x"))[1]) == "forbidden"
        for path, body in (("/runs", b"{}"), ("/tokens", b'{"name":"mine"}'), ("/tokens:login-link", None)):
            assert ask(site, path, token, body or b"")[0] == 403, path
    wait_until(lambda: ask(site, f"/runs/{name}:{job}", token)[0] == 401, 60, what="the token ends with its job")


def test_a_node_s_key_speaks_for_that_node_alone(site: Site, keyed_node: str) -> None:
    cluster, (n1, n2) = site.cluster.at.name, site.cluster.nodes
    with running(site, "alice", "sleep 600", f"--nodelist={n1}") as job:
        wait_until(lambda: (site.run(job) or {})["state_source"] == "controller", 60)
        folder = lines(f"{cluster}.{job}", *points(1), writer="forged")
        forged = hook("epilog", job, at=time.time(), SLURM_CLUSTER_NAME=cluster, SLURMD_NODENAME=n1)
        of_n2 = hook("epilog", job, at=time.time(), SLURM_CLUSTER_NAME=cluster, SLURMD_NODENAME=n2)
        status, told = deliver(site, keyed_node, folder, forged, of_n2, node=n2)
        assert (status, [code(told, place) for place in range(3)]) == (200, ["forbidden"] * 3)
        assert deliver(site, keyed_node, folder, node=n1)[0] == 403
        assert (site.run(job) or {})["state"] == "RUNNING"
