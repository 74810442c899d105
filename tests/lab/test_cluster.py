"""The throwaway cluster comes up, stays what it is, and leaves nothing behind, whatever befalls it."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess

import pytest

from lab import leftovers, users
from lab.cluster import Cluster
from lab.daemon import is_alive
from lab.place import CHECKOUT, recall
from tests.conftest import wait_until


def pids(cluster: Cluster) -> dict[str, int | None]:
    return {state.name: state.pid for state in cluster.status()}


def accounted(cluster: Cluster, job: int) -> str:
    words = ["sacct", "-nPX", "-j", str(job), "-o", "State,Account,NodeList"]
    return cluster.run_as("alice", words).stdout.strip()


def nothing_is_left(cluster: Cluster) -> bool:
    left = leftovers.processes(cluster.at, cluster.nodes)
    return not left and not leftovers.mounts(cluster.at) and not leftovers.cgroups(cluster.nodes)


def test_a_job_of_alice_runs_and_is_accounted_to_her_group(cluster: Cluster) -> None:
    job = cluster.sbatch("alice", "--gpus=1", "-o", "/dev/null", script="#!/bin/sh\ntest -n $CUDA_VISIBLE_DEVICES\n")
    wait_until(lambda: accounted(cluster, job) == "COMPLETED|phys|crashlab-n1", what=f"job {job} is accounted")


def test_a_job_finds_tracker_on_its_path(cluster: Cluster) -> None:
    script = "#!/bin/sh\ncd /\npython -c 'import tracker; print(tracker.__file__)' && tracker --version\n"
    job = cluster.sbatch("bob", "-o", "/home/bob/found", script=script)
    wait_until(lambda: accounted(cluster, job).startswith(("COMPLETED", "FAILED")), what=f"job {job} has ended")
    said = cluster.run_as("bob", ["cat", "found"]).stdout.splitlines()
    assert said[0].startswith(str(cluster.at.venv))
    assert "tracker" in said[1]


def test_up_again_is_harmless(cluster: Cluster) -> None:
    before = pids(cluster)
    cluster.up()
    assert pids(cluster) == before
    assert all(before.values())


def test_down_leaves_nothing_and_spares_a_developers_shell(cluster: Cluster) -> None:
    shell = subprocess.Popen(["sleep", "300"], env={**os.environ, **cluster.env()})
    job = cluster.sbatch("alice", "-o", "/dev/null", script="#!/bin/sh\nsetsid sleep 300 &\nsleep 300\n")
    wait_until(lambda: accounted(cluster, job).startswith("RUNNING"), what=f"job {job} runs")
    cluster.down()
    assert nothing_is_left(cluster)
    assert shell.poll() is None
    shell.kill()
    shell.wait()


def test_a_crash_of_everything_is_repaired_by_up(cluster: Cluster) -> None:
    cluster.sbatch("alice", "-o", "/dev/null", script="#!/bin/sh\nsetsid sleep 300 &\nsleep 300\n")
    wait_until(lambda: "sleep" in said_by_processes(cluster), what="the job runs")
    cluster.crash()
    assert "slurmstepd" in said_by_processes(cluster)
    cluster.up()
    job = cluster.sbatch("bob", "-o", "/dev/null", script="#!/bin/sh\ntrue\n")
    wait_until(lambda: accounted(cluster, job).startswith("COMPLETED"), what=f"job {job} runs on the repaired cluster")


def test_a_crash_of_everything_is_cleared_by_down(cluster: Cluster) -> None:
    cluster.sbatch("alice", "-o", "/dev/null", script="#!/bin/sh\nsetsid sleep 300 &\nsleep 300\n")
    wait_until(lambda: "sleep" in said_by_processes(cluster), what="the job runs")
    cluster.crash()
    cluster.down()
    assert nothing_is_left(cluster)


def said_by_processes(cluster: Cluster) -> str:
    found = leftovers.processes(cluster.at, cluster.nodes)
    return subprocess.run(["ps", "-o", "args=", "-p", ",".join(map(str, found))], capture_output=True, text=True).stdout


def test_a_process_that_got_the_number_of_a_dead_daemon_is_not_touched(cluster: Cluster) -> None:
    cluster.crash()
    stranger = subprocess.Popen(["sleep", "300"])
    for pid_file in cluster.at.run.glob("*.lab-pid"):
        pid_file.write_text(f"{stranger.pid}\n")
    for name in ("munged", "slurmctld"):
        (cluster.at.run / f"{name}.lab-pid").write_text(f"{stranger.pid}\n")
    assert not any(pids(cluster).values())
    cluster.down()
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_port_that_another_program_took_meanwhile_is_given_up(cluster: Cluster) -> None:
    cluster.down()
    memory = recall(cluster.at)
    assert memory
    with socket.create_server(("127.0.0.1", memory.ports["slurmctld"])):
        cluster.up()
        renewed = recall(cluster.at)
        assert renewed
        assert renewed.ports["slurmctld"] != memory.ports["slurmctld"]
        assert "UP" in cluster.run_as("alice", ["scontrol", "ping"]).stdout


def test_the_number_of_nodes_and_gpus_can_be_changed(cluster: Cluster) -> None:
    try:
        Cluster("crashlab", nodes=3, gpus=4).up()
        said = cluster.run_as("bob", ["sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %G"]).stdout
        assert said.split() == [word for node in cluster.nodes for word in (node, "gpu:a100:4")]
        assert len(cluster.nodes) == 3
    finally:
        Cluster("crashlab", nodes=1, gpus=1).up()


def test_env_brings_the_clusters_commands_into_a_shell(cluster: Cluster) -> None:
    bring = f'eval "$({shlex.quote(str(CHECKOUT / "run"))} cluster env --name crashlab)"'
    script = f"unset TRACKER_HOME; {bring}; sinfo -h -o %P; tracker --version; env"
    answer = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert "gpu*" in answer.stdout
    assert f"SLURM_CONF={cluster.at.slurm_conf}" in answer.stdout
    assert "TRACKER_TOKEN=" in answer.stdout
    assert "TRACKER_HOME=" not in answer.stdout


def test_users_read_the_configuration_but_no_keys(cluster: Cluster) -> None:
    def alice_reads(path: object) -> bool:
        return cluster.run_as("alice", ["cat", str(path)]).returncode == 0

    assert alice_reads(cluster.at.slurm_conf)
    keys = [cluster.at.etc / "slurmdbd.conf", cluster.at.root / "munge/munge.key", *cluster.at.home.glob("*.token")]
    assert len(keys) == 4
    assert not any(alice_reads(key) for key in keys)


def test_users_have_no_token_of_the_administrator(cluster: Cluster) -> None:
    assert "TRACKER_TOKEN" not in cluster.run_as("alice", ["env"]).stdout


def test_jobs_go_on_while_the_server_is_down(cluster: Cluster) -> None:
    cluster.stop_server()
    job = cluster.sbatch("alice", "-o", "/dev/null", script="#!/bin/sh\ntracker log loss=1 --step 0\n")
    wait_until(lambda: accounted(cluster, job).startswith("COMPLETED"), what=f"job {job} has ended")
    cluster.start_server()
    assert pids(cluster)["server"]


@pytest.mark.parametrize("user", users.USERS)
def test_a_command_runs_as_the_user_in_a_clean_environment(cluster: Cluster, user: str) -> None:
    said = dict(line.split("=", 1) for line in cluster.run_as(user, ["env"]).stdout.splitlines())
    assert said["USER"] == user
    assert said["HOME"] == f"/home/{user}"
    ours = {"SLURM_CONF", "TRACKER_URL", "TRACKER_MUNGE_SOCKET"}
    assert set(said) <= {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG"} | ours


def test_the_daemon_that_is_asked_for_is_the_one_that_dies(cluster: Cluster) -> None:
    before = pids(cluster)
    node = cluster.nodes[0]
    cluster.stop_agent(node)
    agent = before[f"agent-{node}"]
    assert agent
    assert not is_alive(agent)
    cluster.start_agent(node)
    after = pids(cluster)
    assert after[f"agent-{node}"] not in (None, agent)
    assert {**after, f"agent-{node}": 0} == {**before, f"agent-{node}": 0}


def test_a_first_start_that_was_cut_off_early_can_be_taken_down() -> None:
    half_made = Cluster("halfmade")
    (half_made.at.root / "db").mkdir(parents=True)
    half_made.down()
    half_made.remove()
    assert not half_made.at.root.exists()
