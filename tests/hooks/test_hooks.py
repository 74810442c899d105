"""The hooks on good days and on the worst ones: they succeed, in silence, in time, whatever they meet."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.hooks.conftest import ALICE, JOB, Node

HOOKS = ["prolog", "epilog", "task_prolog"]


@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
def test_a_job_gets_a_folder_of_its_own_and_an_event_at_each_end(node: Node, shell: str) -> None:
    assert node.run("prolog", shell=shell) == ""
    status = node.job_folder().stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (ALICE, ALICE, 0o700)
    assert node.run("task_prolog", shell=shell, uid=ALICE) == f"export TRACKER_SPOOL={node.job_folder()}\n"
    assert node.run("epilog", shell=shell, SLURM_JOB_EXIT_CODE2="3:0") == ""
    assert node.events("prolog") == [{"HOOK": "prolog", **JOB}]
    assert node.events("epilog") == [{"HOOK": "epilog", **JOB, "SLURM_JOB_EXIT_CODE2": "3:0"}]


def test_the_spool_is_closed_to_users_where_it_must_be(node: Node) -> None:
    node.run("prolog")
    modes = {name: (node.spool / name).stat().st_mode & 0o777 for name in (".", "jobs", "events")}
    assert modes == {".": 0o755, "jobs": 0o755, "events": 0o700}
    assert [file.stat().st_mode & 0o777 for file in (node.spool / "events").iterdir()] == [0o600]


def test_a_value_is_data_and_never_a_command_or_another_record(node: Node) -> None:
    evil = f"$(touch {node.spool}/pwned)`touch {node.spool}/pwned`\nSLURM_JOB_ID=13\\0SLURM_JOB_ID=14; exit 1 %s%n"
    node.run("prolog", SLURM_JOB_COMMENT=evil, SLURM_JOB_WORK_DIR="/tmp/a b\t\"'\\c")
    assert node.events("prolog") == [
        {"HOOK": "prolog", **JOB, "SLURM_JOB_COMMENT": evil, "SLURM_JOB_WORK_DIR": "/tmp/a b\t\"'\\c"}
    ]
    assert not (node.spool / "pwned").exists()


def test_unset_variables_are_left_out_and_empty_ones_are_told(node: Node) -> None:
    node.run("epilog", SLURM_JOB_GPUS=None, SLURM_JOB_COMMENT="")
    (event,) = node.events("epilog")
    assert "SLURM_JOB_GPUS" not in event
    assert event["SLURM_JOB_COMMENT"] == ""


@pytest.mark.parametrize("job_id", ["../../etc", "12; rm -rf /", "", "-1", "12\n13", "1" * 400, None])
def test_a_job_id_that_is_no_number_makes_nothing(node: Node, job_id: str | None) -> None:
    for hook in HOOKS:
        assert node.run(hook, SLURM_JOB_ID=job_id) == ""
    assert sorted(path.name for path in node.spool.rglob("*")) in ([], ["events", "jobs"])


@pytest.mark.parametrize("cluster", ["../x", "a/b", "", "a b", "$HOME", None])
def test_a_cluster_name_that_leads_elsewhere_makes_no_folder(node: Node, cluster: str | None) -> None:
    node.run("prolog", SLURM_CLUSTER_NAME=cluster)
    assert list((node.spool / "jobs").iterdir()) == []
    assert len(node.events("prolog")) == 1


def test_users_that_are_no_numbers_get_no_folder(node: Node) -> None:
    node.run("prolog", SLURM_JOB_UID="root")
    assert not node.job_folder().exists()


def test_the_folder_of_a_requeued_job_keeps_what_is_in_it(node: Node) -> None:
    node.run("prolog")
    (node.job_folder() / "w.jsonl").write_text("{}\n")
    node.run("prolog")
    assert (node.job_folder() / "w.jsonl").read_text() == "{}\n"
    assert len(node.events("prolog")) == 2


def test_a_node_name_stands_in_for_percent_n(node: Node) -> None:
    node.configure(f"{node.spool}/%n/x")
    node.run("prolog")
    assert (node.spool / "n1" / "x" / "jobs" / "dev.12").is_dir()
    node.run("prolog", SLURMD_NODENAME="../../escaped")
    assert sorted(path.name for path in node.spool.iterdir()) == ["n1"]


def _remove_conf(node: Node) -> None:
    (node.hooks / "hooks.conf").unlink()


def _garbage_conf(node: Node) -> None:
    (node.hooks / "hooks.conf").write_bytes(b"exit 1\nif (\n\xff\0spool\n")


def _folder_as_conf(node: Node) -> None:
    _remove_conf(node)
    (node.hooks / "hooks.conf").mkdir()


def _remove_common(node: Node) -> None:
    (node.hooks / "common.sh").unlink()


def _half_common(node: Node) -> None:
    text = (node.hooks / "common.sh").read_text()
    (node.hooks / "common.sh").write_text(text[: text.index("esac")])


def _file_as_spool(node: Node) -> None:
    node.spool.write_text("")


def _file_as_events(node: Node) -> None:
    node.spool.mkdir()
    (node.spool / "events").write_text("")
    (node.spool / "jobs").write_text("")


def _read_only_spool(node: Node) -> None:
    node.spool.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=755", "none", node.spool], check=True)


def _full_spool(node: Node) -> None:
    node.spool.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "none", node.spool], check=True)
    (node.spool / "jobs").mkdir()
    (node.spool / "events").mkdir(mode=0o700)
    with pytest.raises(OSError, match="No space left"), (node.spool / "filler").open("wb") as file:
        file.write(bytes(64 * 1024))


def _no_inodes(node: Node) -> None:
    node.spool.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=3,mode=755", "none", node.spool], check=True)
    (node.spool / "jobs").mkdir()
    (node.spool / "events").mkdir(mode=0o700)


def _spool_of_a_user(node: Node) -> None:
    node.spool.mkdir()
    os.chown(node.spool, ALICE, ALICE)


def _relative_spool(node: Node) -> None:
    node.configure("spool")


@pytest.mark.parametrize(
    "spoil",
    [
        _remove_conf,
        _garbage_conf,
        _folder_as_conf,
        _remove_common,
        _half_common,
        _file_as_spool,
        _file_as_events,
        _read_only_spool,
        _full_spool,
        _no_inodes,
        _spool_of_a_user,
        _relative_spool,
    ],
)
def test_a_hook_succeeds_in_silence_and_leaves_no_half_event(node: Node, spoil: Callable[[Node], None]) -> None:
    spoil(node)
    for hook in HOOKS:
        assert node.run(hook) == ""
    assert node.spool.is_file() or list(node.spool.glob("events/*.event")) == []


def test_a_symbolic_link_in_the_place_of_a_folder_is_not_followed(node: Node) -> None:
    node.run("prolog")
    elsewhere = node.spool.parent / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    for planted in (node.job_folder(), node.spool / "events", node.spool / "jobs"):
        shutil.rmtree(planted)
        planted.symlink_to(elsewhere)
        node.run("prolog")
        node.run("epilog")
        assert elsewhere.stat().st_uid == 0
        assert list(elsewhere.iterdir()) == []
        planted.unlink()
        planted.mkdir()


def test_a_file_in_the_place_of_the_job_folder_costs_the_folder_only(node: Node) -> None:
    (node.spool / "jobs").mkdir(parents=True)
    node.job_folder().write_text("")
    node.run("prolog")
    assert len(node.events("prolog")) == 1
    assert node.run("task_prolog", uid=ALICE) == ""


def test_task_prolog_names_no_folder_that_the_user_cannot_write(node: Node) -> None:
    node.run("prolog")
    assert node.run("task_prolog", uid=ALICE + 1) == ""
    assert node.run("task_prolog", uid=ALICE, SLURM_JOB_ID="13") == ""


@pytest.mark.parametrize("output", [">&-", ">/dev/full", "| true"])
def test_task_prolog_survives_an_output_that_takes_nothing(node: Node, output: str) -> None:
    node.run("prolog")
    command = f"set -o pipefail; {node.hooks}/task_prolog.sh {output}"
    assert subprocess.run(["bash", "-c", command], env=JOB, user=ALICE, check=False).returncode == 0


def test_hooks_start_no_program_but_install(node: Node) -> None:
    node.run("prolog")  # the first one also makes the spool
    programs, started = node.hooks / "bin", node.hooks / "started"
    programs.mkdir()
    (programs / "install").write_text(f'#!/bin/sh\necho install >>{started}\nexec /usr/bin/install "$@"\n')
    (programs / "install").chmod(0o755)
    common = node.hooks / "common.sh"
    common.write_text(common.read_text().replace("PATH=/usr/bin:/bin", f"PATH={programs}"))
    for hook, expected in (("prolog", ["install"]), ("epilog", []), ("task_prolog", [])):
        started.write_text("")
        node.run(hook)
        assert started.read_text().split() == expected
    assert len(node.events("prolog")) == 2  # nothing else was missing


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_costs_a_few_milliseconds(node: Node, hook: str) -> None:
    node.run("prolog")
    costs_s = []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        to_null = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
        child = os.posix_spawn(node.hooks / f"{hook}.sh", [f"{node.hooks}/{hook}.sh"], JOB, file_actions=to_null)
        assert os.waitpid(child, 0)[1] == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # Processor time, because others share this machine; the wall time of an idle one is about the same.
    assert min(costs_s) < 0.010
