"""Several runs in one process, or in one job: each its own, side by side with what the functions log to."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tests.client.conftest import JOB, Scripts, read_lines

SWEEP = """
    runs = [tracker.init(new=True, name=f"lr {lr}", params={"lr": lr}) for lr in (0.1, 0.2)]
    for step in range(3):
        tracker.log({"mean": 0.5}, step=step)
        for run in runs: run.log({"loss": step}, step=step)
    runs[0].finish()
    runs[0].log({"late": 1})
    print(*[run.id for run in runs])
"""


def metrics_of(file: Path) -> list[str]:
    return [name for line in read_lines(file) for name in line.get("metrics", ())]


def finishes_of(file: Path) -> int:
    return sum(line.get("event") == "finish" for line in read_lines(file))


def test_outside_slurm_each_has_a_folder_of_its_own(scripts: Scripts) -> None:
    done = scripts.run(SWEEP)
    assert done.stderr == "tracker: what is logged after finish() is not kept (said once)\n"
    files = {folder.name: next(folder.iterdir()) for folder in scripts.folders()}
    ids = done.stdout.split()
    assert {f"local.{one}" for one in ids} < set(files)
    for one in ids:
        file = files.pop(f"local.{one}")
        assert (metrics_of(file), finishes_of(file)) == (["loss"] * 3, 1)
    ((_, own),) = files.items()
    assert (metrics_of(own), finishes_of(own)) == (["mean"] * 3, 1)


def test_in_a_job_each_is_a_file_in_the_folder_of_the_job(scripts: Scripts) -> None:
    done = scripts.run(SWEEP, **JOB)
    (folder,) = scripts.folders()
    named = {match[1]: file for file in folder.iterdir() if (match := re.match(r"run_([0-9a-f]{32})_", file.name))}
    assert set(named) == set(done.stdout.split())
    for run_id, file in named.items():
        assert len(file.stem) == 64
        assert (metrics_of(file), finishes_of(file)) == (["loss"] * 3, 1)
        assert read_lines(file)[0]["run"] == run_id
    (own,) = set(folder.iterdir()) - set(named.values())
    assert (metrics_of(own), finishes_of(own)) == (["mean"] * 3, 1)


def test_a_forked_child_goes_on_with_it_and_does_not_end_it(scripts: Scripts) -> None:
    scripts.run(
        """
        import os
        run = tracker.init(new=True)
        if os.fork() == 0:
            run.log({"child": 1})
            raise SystemExit
        os.wait()
        run.log({"parent": 1})
        """,
        **JOB,
    )
    files = list(scripts.folders()[0].iterdir())
    assert len({file.name.split("_")[1] for file in files}) == 1
    assert sorted(name for file in files for name in metrics_of(file)) == ["child", "parent"]
    assert sum(map(finishes_of, files)) == 1


def test_an_exception_ends_all_of_them_as_failed(scripts: Scripts) -> None:
    scripts.run("tracker.init(); run = tracker.init(new=True); 1 / 0", exit_code=1)
    ends = [line["exit_code"] for folder in scripts.folders() for line in scripts.messages(folder) if "reason" in line]
    assert ends == [1, 1]


def test_notes_stand_in_the_run_they_belong_to(scripts: Scripts) -> None:
    scripts.run("for _ in range(2): tracker.init(new=True).log({'loss': 'high'})")
    assert all(any(line.get("key") == "loss" for line in scripts.messages(folder)) for folder in scripts.folders())


def test_a_killed_process_leaves_what_the_agent_tells_its_death_by(scripts: Scripts) -> None:
    script = scripts.start(
        "tracker.init(new=True).log({'a': 1}); print('there', flush=True); import time; time.sleep(60)"
    )
    assert script.stdout is not None and script.stdout.readline() == "there\n"
    script.send_signal(signal.SIGKILL)
    script.communicate()
    header, *rest = scripts.messages()
    assert header["pid"] == script.pid and "process" in header
    assert [line.get("event") for line in rest] == [None]


def test_it_may_be_switched_off(scripts: Scripts) -> None:
    scripts.run("run = tracker.init(new=True); run.log({'a': 1}); run.finish()", TRACKER_MODE="off")
    assert scripts.folders() == []


def test_eight_ranks_on_two_nodes_are_one_run(scripts: Scripts) -> None:
    ranks = [
        scripts.start(
            "for step in range(200): tracker.log({'loss': step}, step=step)",
            **{**JOB, "SLURM_PROCID": str(rank), "SLURMD_NODENAME": f"n{1 + rank // 4}"},
        )
        for rank in range(8)
    ]
    assert [rank.wait(timeout=60) for rank in ranks] == [0] * 8
    for rank in ranks:
        rank.communicate()
    (folder,) = scripts.folders()
    files = [read_lines(file) for file in folder.iterdir()]
    writers = sorted((lines[0]["rank"], lines[0]["node"]) for lines in files)
    assert writers == [(rank, f"n{1 + rank // 4}") for rank in range(8)]
    assert all([line["step"] for line in lines if "metrics" in line] == list(range(200)) for lines in files)


def test_the_rank_is_that_of_torchrun_where_it_started_the_process(scripts: Scripts) -> None:
    scripts.run("tracker.init()", **JOB, RANK="5", LOCAL_RANK="1", WORLD_SIZE="8")
    scripts.run("tracker.init()", **{**JOB, "SLURM_PROCID": "3"}, RANK="5")
    assert sorted(line["rank"] for line in scripts.messages() if line.get("event") == "writer") == [3, 5]


def test_spawned_and_forked_workers_belong_to_the_run(scripts: Scripts) -> None:
    (scripts.home / "train.py").write_text(
        """
import multiprocessing, os, tracker
def work(number):
    tracker.log({f"w{number}": os.getpid()})
if __name__ == "__main__":
    tracker.log({"main": os.getpid()})
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool: pool.map(work, range(4))
        worker = context.Process(target=work, args=(method,))
        worker.start(); worker.join()
    tracker.log({"end": 1})
"""
    )
    scripts.run_file("train.py")
    (folder,) = scripts.folders()
    files = [read_lines(file) for file in folder.iterdir()]
    logged = sorted(name for lines in files for line in lines for name in line.get("metrics", ()))
    assert logged == sorted(["main", "end", "wfork", "wspawn", *(f"w{i}" for i in range(4) for _ in range(2))])
    for lines in files:  # each process wrote into a file of its own
        pids = {value for line in lines for name, value in line.get("metrics", {}).items() if name != "end"}
        assert pids <= {lines[0]["pid"]}
    ends = [line for lines in files for line in lines if line.get("event") == "finish"]
    assert [end["exit_code"] for end in ends] == [0]


def test_the_next_run_and_the_jobs_own_lie_where_the_first_did(scripts: Scripts, tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "jobs" / "dev.12"
    folder.mkdir(parents=True)
    scripts.run(
        """
for number in range(3):
    run = tracker.init(new=True)
    run.log({"x": number})
    run.finish()
tracker.log({"own": 1})
""",
        **JOB,
        TRACKER_SPOOL=str(folder),
    )
    assert len(list(folder.glob("run_*.jsonl"))) == 3
    assert len(list(folder.glob("*.jsonl"))) == 4
