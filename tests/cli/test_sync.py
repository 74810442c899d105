"""`tracker sync`: what was copied from a cluster arrives once, however often it is sent, and stays where it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, wait_until
from tests.web.conftest import Server, _serve
from tracker.store.database import Database


@pytest.fixture
def server(db: Database) -> Iterator[Server]:
    yield from _serve(db)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool with two jobs and a hook's event."""
    for job in (12, 13):
        folder = tmp_path / "spool" / "jobs" / f"dev.{job}"
        folder.mkdir(parents=True, mode=0o700)
        (folder / "w1.jsonl").write_text("".join(f'{{"metrics":{{"loss":1}},"step":{step}}}\n' for step in range(50)))
    events = tmp_path / "spool" / "events"
    events.mkdir(mode=0o700)
    said = b"HOOK=prolog\0SLURM_JOB_ID=12\0SLURM_CLUSTER_NAME=dev\0SLURMD_NODENAME=n1\0SLURM_JOB_USER=alice\0END=1\0"
    (events / "prolog.12.1.event").write_bytes(said)
    return tmp_path / "spool"


def sync(server: Server | str, *words: object, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
    url = server if isinstance(server, str) else server.url
    token = "none" if isinstance(server, str) else server.token("n1", "node", "node")
    env = {**os.environ, "TRACKER_TOKEN": token, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tracker", "sync", "--url", url, *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def counts(server: Server) -> dict[str, int]:
    runs = server.ask("/api/v1/runs", token=server.token("root", "admin")).json["items"]
    return {f"{run['cluster']}.{run['job_id']}": run["summary"].get("loss", {}).get("count", 0) for run in runs}


def test_a_copied_spool_arrives_once_and_stays_as_it_is(server: Server, spool: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in spool.rglob("*")}
    for _ in range(2):
        done = sync(server, spool, "--once", "--user", "alice", "--json")
        assert json.loads(done.stdout)["complete"] is True
        assert counts(server) == {"dev.12": 50, "dev.13": 50}
    assert {path: path.stat().st_mtime_ns for path in spool.rglob("*")} == before


def test_one_job_s_folder_is_enough(server: Server, spool: Path) -> None:
    assert "bytes" in sync(server, spool / "jobs" / "dev.13", "--once").stderr
    assert counts(server) == {"dev.13": 50}


def test_what_the_server_refuses_is_told_with_a_way_out(server: Server, spool: Path) -> None:
    sync(server, spool, "--once", "--user", "alice")
    with (spool / "jobs" / "dev.12" / "w1.jsonl").open("a") as file:
        file.write('{"metrics":{"loss":1},"step":50}\n')
    done = sync(server, spool, "--once", "--user", "mallory", exit_code=1)
    assert "belongs to mallory" in done.stderr
    assert "give --user" in done.stderr
    told = json.loads(sync(server, spool, "--once", "--user", "mallory", "--json", exit_code=1).stdout)
    assert (told["complete"], sorted(told["refused"])) == (False, ["dev.12", "dev.13"])


def test_what_cannot_be_is_told_in_a_sentence(tmp_path: Path, spool: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    empty = tmp_path / "empty"
    (empty / "jobs").mkdir(parents=True)
    for folder, words, exit_code in (
        (tmp_path / "not there", "There is no folder", 1),
        (tmp_path, "is no spool", 1),
        (spool, "not everything was shipped", 1),
        (spool / "jobs" / "dev.12", "not everything was shipped", 1),
    ):
        assert words in sync(nowhere, folder, "--once", exit_code=exit_code).stderr
    sync(nowhere, exit_code=2)


@contextmanager
def syncing(server: Server, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A `tracker sync` that goes on."""
    env = {**os.environ, "TRACKER_TOKEN": server.token("n1", "node", "node"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tracker", "sync", "--url", server.url, *map(str, words)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_without_once_it_goes_on_until_it_is_told_to_end(server: Server, spool: Path) -> None:
    with syncing(server, spool, "--user", "alice", "--json") as process:
        wait_until(lambda: counts(server) == {"dev.12": 50, "dev.13": 50})
        with (spool / "jobs" / "dev.12" / "w1.jsonl").open("a") as file:
            file.write('{"metrics":{"loss":1},"step":50}\n')
        wait_until(lambda: counts(server)["dev.12"] == 51)
        process.terminate()
        told, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert json.loads(told)["complete"] is True
    assert len(list(spool.rglob("*.jsonl"))) == 2


@pytest.mark.parametrize("place", [".", "jobs/dev.13"])
def test_what_is_removed_in_the_midst_is_not_called_complete(server: Server, spool: Path, place: str) -> None:
    with syncing(server, spool / place, "--user", "alice") as process:
        wait_until(lambda: counts(server).get("dev.13") == 50)
        shutil.rmtree(spool / place)
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert "is not there any more" in process.stderr.read()


def test_a_user_ships_their_own_folder_of_the_node_s_spool(server: Server) -> None:
    """As before a node goes down for good: the spool is root's, the folders in it are not."""
    spool = Path(tempfile.mkdtemp(prefix="tracker-sync-"))
    spool.chmod(0o755)
    for job, uid in ((12, 65534), (13, 1)):
        folder = spool / "jobs" / f"dev.{job}"
        folder.mkdir(parents=True, mode=0o700)
        (folder / "w1.jsonl").write_text('{"metrics":{"loss":1},"step":0}\n')
        for path in (folder, folder / "w1.jsonl"):
            os.chown(path, uid, uid)
    as_nobody = (
        "import os, sys; from tracker.agent import sync; os.setresuid(*[65534] * 3); sys.exit(sync.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", as_nobody, str(spool), "--once", "--url", server.url]
    env = {**os.environ, "TRACKER_TOKEN": server.token("n1", "node", "node"), "PYTHONPATH": str(ROOT), "HOME": "/"}
    env["TRACKER_HOME"] = str(spool)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    shutil.rmtree(spool)
    assert done.returncode == 0, done.stderr
    assert counts(server) == {"dev.12": 1}


def test_where_nothing_is_nothing_is_shipped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "spool" / "jobs").mkdir(parents=True)
    assert "nothing to ship" in sync(server, tmp_path / "spool", "--once").stderr
