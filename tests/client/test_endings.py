"""However a script ends, what it logged is there, and its end is told as far as it can be."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.client.conftest import JOB, Scripts, read_lines


def test_a_killed_job_keeps_every_point_that_log_returned_from(scripts: Scripts) -> None:
    for _ in range(5):
        script = scripts.start("""
            import itertools
            for step in itertools.count():
                tracker.log({"loss": 1 / (step + 1), "acc": step}, step=step)
                print(step, flush=True)
        """)
        assert script.stdout is not None
        for _ in range(200):
            acknowledged = script.stdout.readline()
        script.send_signal(signal.SIGKILL)
        acknowledged = ([acknowledged] + [line for line in script.stdout.read().split("\n")[:-1] if line])[-1]
        script.wait()
        script.stdout.close()
        assert script.stderr is not None
        script.stderr.close()
        newest = max(scripts.folders(), key=lambda folder: folder.stat().st_mtime_ns)
        steps = [one["step"] for one in scripts.messages(newest) if "metrics" in one]
        assert steps[: int(acknowledged) + 1] == list(range(int(acknowledged) + 1))
        assert len(steps) <= int(acknowledged) + 2


@pytest.mark.parametrize(
    ("ending", "exit_code", "reason"),
    [
        ("pass", 0, None),
        ("import sys; sys.exit(3)", 3, None),
        ("import sys; sys.exit('no data')", 1, "no data"),
        ("import sys; sys.exit()", 0, None),
        ("raise ValueError('too small')", 1, "ValueError: too small"),
        ("tracker.finish(0, 'early')", 0, "early"),
    ],
)
def test_the_end_of_a_script_is_told(scripts: Scripts, ending: str, exit_code: int, reason: str | None) -> None:
    scripts.run(f"tracker.log({{'a': 1}})\n{ending}", exit_code=exit_code)
    finish = scripts.event("finish")
    assert (finish["exit_code"], finish["reason"]) == (exit_code, reason)


def test_a_caught_sys_exit_is_no_end(scripts: Scripts) -> None:
    scripts.run("""
        import sys
        tracker.log({"a": 1})
        try: sys.exit(2)
        except SystemExit: pass
        tracker.log({"a": 2})
    """)
    assert scripts.event("finish")["exit_code"] == 0


def test_an_uncaught_exception_is_the_end_whatever_is_logged_after_it(scripts: Scripts) -> None:
    scripts.run(
        """
        import atexit
        tracker.log({"a": 1})
        atexit.register(lambda: tracker.log({"late": 1}))
        raise KeyError("gone")
    """,
        exit_code=1,
    )
    assert scripts.event("finish")["exit_code"] == 1
    assert len(scripts.points()) == 2


def test_exit_handlers_that_log_do_not_change_the_exit_code(scripts: Scripts) -> None:
    scripts.run(
        """
        import atexit, sys
        tracker.log({"a": 1})
        atexit.register(lambda: tracker.log({"late": 1}))
        try: sys.exit(2)
        except SystemExit: tracker.log({"caught": 1})
        sys.exit(3)
    """,
        exit_code=3,
    )
    assert scripts.event("finish")["exit_code"] == 3
    assert len(scripts.points()) == 3


def test_a_script_that_becomes_another_program_ends_its_run_there(scripts: Scripts) -> None:
    (scripts.home / "again.py").write_text("""
import os, sys
import tracker
part = int(sys.argv[1]) if sys.argv[1:] else 0
tracker.log({"part": part}, step=part)
if part < 2:
    tracker.client.worker.drain()
    os.execv(sys.executable, [sys.executable, __file__, str(part + 1)])
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", "import tracker; tracker.log({'child': 1}, step=9)"])
os.wait()
sys.exit(3)
""")
    scripts.run_file("again.py", exit_code=3)
    assert len(scripts.folders()) == 1
    assert sorted(step for step, _ in scripts.points()) == [0, 1, 2, 9]
    assert scripts.event("finish")["exit_code"] == 3
    assert scripts.event("capture")["argv"][1:] == ["again.py"]


def test_an_exception_hook_of_the_script_goes_on_working(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import sys
        sys.excepthook = lambda *problem: print("my own hook")
        tracker.log({"a": 1})
        1 / 0
        """,
        exit_code=1,
    )
    assert done.stdout == "my own hook\n"
    assert "ZeroDivisionError" in scripts.event("finish")["reason"]


def test_a_forked_child_has_a_file_of_its_own_in_the_same_run(scripts: Scripts) -> None:
    scripts.run("""
        import os
        for step in range(100): tracker.log({"loss": 0.5}, step=step)
        children = []
        for child in range(3):
            pid = os.fork()
            if pid == 0:
                for step in range(100): tracker.log({"child": child}, step=step)
                os._exit(0)
            children.append(pid)
        for step in range(100, 200): tracker.log({"loss": 0.5}, step=step)
        for pid in children: os.waitpid(pid, 0)
    """)
    files = [read_lines(file) for file in scripts.folders()[0].iterdir()]
    assert sorted(sum("metrics" in one for one in lines) for lines in files) == [100, 100, 100, 200]
    assert len({lines[0]["pid"] for lines in files}) == 4
    assert [one["exit_code"] for one in scripts.messages() if one.get("event") == "finish"] == [0]


def test_processes_started_by_a_run_outside_slurm_join_it_and_do_not_end_it(scripts: Scripts) -> None:
    scripts.run("""
        import multiprocessing, subprocess, sys
        tracker.log({"loss": 0.5})
        subprocess.run([sys.executable, "-c", "import tracker; tracker.log({'part': 1})"], check=True)
        subprocess.run([sys.executable, "-m", "tracker.client.shell", "part=2"], check=True)
        tracker.log({"loss": 0.4})
    """)
    assert len(scripts.folders()) == 1
    assert len(scripts.points()) == 4
    finish = scripts.event("finish")
    assert finish["time"] >= max(one["time"] for one in scripts.messages() if "metrics" in one)


def test_threads_share_a_file_and_lose_nothing(scripts: Scripts) -> None:
    scripts.run("""
        import threading
        def work(name):
            for step in range(500): tracker.log({name: step}, step=step)
        threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """)
    logged = sorted((name, step) for step, metrics in scripts.points() for name in metrics)
    assert logged == [(f"t{i}", step) for i in range(8) for step in range(500)]
    assert len(list(scripts.folders()[0].iterdir())) == 1


def test_a_full_disk_costs_points_but_no_line_and_no_training(scripts: Scripts, small_disk: Path) -> None:
    done = scripts.run(
        """
        import os
        folder = os.environ["TRACKER_SPOOL"]
        for step in range(2000): tracker.log({"loss": 0.123456789, "before": 1}, step=step)
        os.unlink(f"{folder}/../room")
        for step in range(2000, 2100): tracker.log({"loss": 0.123456789, "after": 1}, step=step)
        tracker.current_run()._writer.look_at_s = 0  # a second later
        tracker.log({"loss": 1.0}, step=2100)
        """,
        **JOB,
        TRACKER_CAPTURE="off",
        TRACKER_SPOOL=str(_with_room_to_free(small_disk)),
    )
    assert done.stderr.count("\n") == 1
    assert "disk full" in done.stderr
    (file,) = (small_disk / "dev.12").glob("*.jsonl")
    torn = [line for line in file.read_bytes().split(b"\n")[:-1] if line and not line.endswith(b"}")]
    assert len(torn) <= 1
    whole = [line for line in file.read_bytes().split(b"\n")[:-1] if line.endswith(b"}")]
    messages = [json.loads(line) for line in whole]
    steps = [one["step"] for one in messages if "metrics" in one]
    assert set(range(2000, 2101)) <= set(steps)
    kept_before = [step for step in steps if step < 2000]
    assert kept_before == list(range(len(kept_before)))
    (note,) = [one for one in messages if one.get("event") == "note"]
    assert note["reason"].startswith(f"{2000 - len(kept_before)} lines")


def _with_room_to_free(disk: Path) -> Path:
    folder = disk / "dev.12"
    folder.mkdir()
    (disk / "room").write_bytes(bytes(20 * 1024))
    return folder


def test_a_script_that_closes_every_descriptor_goes_on_in_a_new_file(scripts: Scripts) -> None:
    scripts.run("""
        import os
        tracker.log({"a": 1}, step=1)
        os.closerange(3, 4096)
        tracker.log({"a": 1}, step=2)
    """)
    assert sorted(step for step, _ in scripts.points()) == [1, 2]
    assert len(list(scripts.folders()[0].iterdir())) == 2


@pytest.mark.parametrize("files", [8, 600])
def test_nothing_is_written_into_a_file_that_has_the_number_of_ours(scripts: Scripts, files: int) -> None:
    scripts.run(
        """
        import os, resource, sys
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        tracker.log({"a": 1}, step=1)
        os.closerange(3, 1024)
        files = [open(f"own{number}", "wb", 0) for number in range(int(os.environ["FILES"]))]
        tracker.current_run()._writer.look_at_s = 0  # a second later
        tracker.log({"a": 1}, step=2)
        assert not any(os.path.getsize(file.name) for file in files)
    """,
        FILES=str(files),
        TRACKER_CAPTURE="off",
    )
    assert sorted(step for step, _ in scripts.points()) == [1, 2]


def test_what_is_logged_after_the_end_was_told_stays_in_the_run(scripts: Scripts) -> None:
    (scripts.home / "late.py").write_text("""
import atexit
atexit.register(lambda: (tracker.log({"late": 1}, step=2), beside.finish()))
import sys
import tracker

class Last:
    def __del__(self):
        tracker.log({"later": 1}, step=3)

last = Last()
tracker.log({"a": 1}, step=1)
beside = tracker.init(new=True)
sys.exit(3)
""")
    scripts.run_file("late.py", exit_code=3)
    assert len(scripts.folders()) == 2
    told = [one for folder in scripts.folders() for one in scripts.messages(folder)]
    assert sorted(one["step"] for one in told if "step" in one) == [1, 2, 3]
    assert [one["exit_code"] for one in told if one.get("event") == "finish"] == [3, 3]


def test_a_deleted_folder_is_made_again(scripts: Scripts) -> None:
    scripts.run("""
        import shutil
        tracker.log({"a": 1}, step=1)
        run = tracker.current_run()
        shutil.rmtree(run.spool)
        run._writer.look_at_s = 0  # a second later
        tracker.log({"a": 1}, step=2)
        tracker.log({"a": 1}, step=3)
    """)
    assert [step for step, _ in scripts.points()] == [2, 3]


def test_a_signal_handler_may_log(scripts: Scripts) -> None:
    scripts.run("""
        import signal, time
        def handle(*_): tracker.log({"from": 1})
        tracker.init()
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for step in range(3000): tracker.log({"loss": step}, step=step)
        signal.setitimer(signal.ITIMER_REAL, 0)
    """)
    assert [step for step, metrics in scripts.points() if "loss" in metrics] == list(range(3000))
    assert any("from" in metrics for _, metrics in scripts.points())


def test_after_finish_a_new_run_begins_outside_slurm(scripts: Scripts) -> None:
    scripts.run("tracker.log({'a': 1}); tracker.finish(); tracker.log({'a': 2})")
    assert len(scripts.folders()) == 2
    assert os.environ.get("TRACKER_SPOOL") is None
