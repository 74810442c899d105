"""A requeued job goes on where it ended, is told when its end is near, and saves in time."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.client.conftest import JOB, Scripts

AGAIN = {**JOB, "SLURM_RESTART_COUNT": "1"}
LAST = "run = tracker.current_run(); print(run.attempt, run.last_step)"
PATIENT = "import time; from tracker.client import past; past._TOLD_WITHIN_S = 60"


def tell(scripts: Scripts, **said: object) -> Path:
    """Leave in the job's folder what an agent would."""
    folder = scripts.home / "t/spool/jobs/dev.12"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".told").write_text(json.dumps(said))
    (folder / ".told").rename(folder / "told.json")
    return folder


def test_the_last_step_of_the_attempt_before_is_known_at_once(scripts: Scripts) -> None:
    scripts.run("for step in range(0, 500, 5): tracker.log({'loss': 1.0}, step=step)", **JOB)
    scripts.run("tracker.log({'loss': 1.0}, step=9000)", **{**JOB, "SLURM_PROCID": "1"})
    assert scripts.run(LAST, **AGAIN).stdout.split() == ["2", "495"]


def test_it_is_that_of_the_newest_attempt_wherever_it_began(scripts: Scripts) -> None:
    for restarts, step in ((0, 100), (1, 60)):
        scripts.run(f"tracker.log({{'loss': 1.0}}, step={step})", **{**JOB, "SLURM_RESTART_COUNT": str(restarts)})
    assert scripts.run(LAST, **{**JOB, "SLURM_RESTART_COUNT": "2"}).stdout.split() == ["3", "60"]


def test_steps_that_are_left_out_count_on_after_a_requeue(scripts: Scripts) -> None:
    scripts.run("tracker.log({'loss': 1.0}, step=41)", **JOB)
    done = scripts.run("for _ in range(2): tracker.log({'loss': 1.0})\n" + LAST, **AGAIN)
    assert sorted(step for step, _ in scripts.points()) == [41, 42, 43]
    assert done.stdout.split() == ["2", "43"]


_HUGE = f'{{"last_step": {"9" * 400}, "ends_at": {"9" * 400}}}'


@pytest.mark.parametrize("odd", ["", "[]", '{"last_step": "x"}', '{"last_step": 1e999}', _HUGE, "{" * 100_000, None])
def test_on_another_node_the_agent_tells_it_or_nobody(scripts: Scripts, odd: str | None) -> None:
    folder = tell(scripts, last_step=70, attempt=2)
    assert scripts.run(LAST, **AGAIN).stdout.split() == ["2", "70"]
    (folder / "told.json").unlink()
    if odd is not None:
        (folder / "told.json").write_text(odd)
    began_s = time.monotonic()
    assert scripts.run(LAST, **AGAIN).stdout.split() == ["2", "None"]
    assert time.monotonic() - began_s < 30
    assert scripts.run("print(tracker.time_left())", **AGAIN).stdout.split() == ["None"]


def test_what_was_told_to_an_earlier_attempt_is_waited_out(scripts: Scripts) -> None:
    tell(scripts, last_step=7, attempt=1, ends_at=time.time() + 1000)
    script = scripts.start("print(tracker.time_left(), tracker.current_run().attempt, flush=True)\n" + LAST, **AGAIN)
    assert script.stdout is not None and script.stdout.readline() == "None 2\n"
    tell(scripts, last_step=70, attempt=2)
    assert script.communicate()[0].split() == ["2", "70"]


def test_the_first_attempt_waits_for_nobody(scripts: Scripts) -> None:
    code = f"{PATIENT}; began_s = time.monotonic()\n{LAST}\nprint(time.monotonic() - began_s < 30)"
    assert scripts.run(code, **JOB).stdout.split() == ["1", "None", "True"]


def test_log_waits_for_nobody_after_a_requeue(scripts: Scripts) -> None:
    code = f"{PATIENT}; began_s = time.monotonic(); tracker.log({{'a': 1}}); print(time.monotonic() - began_s < 30)"
    assert scripts.run(code, **AGAIN).stdout.split() == ["True"]


def test_a_limit_that_changed_counts_more_than_that_of_the_start(scripts: Scripts) -> None:
    tell(scripts, ends_at=time.time() + 1000)
    code = "print(tracker.time_left())"
    assert 900 < float(scripts.run(code, **JOB, SLURM_JOB_END_TIME=str(int(time.time()) + 50)).stdout) <= 1000
    tell(scripts, ends_at=time.time() - 5)
    assert scripts.run(code, **JOB).stdout.strip() == "0.0"


@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGTERM])
def test_a_checkpoint_is_made_and_training_goes_on(scripts: Scripts, signum: signal.Signals) -> None:
    script = scripts.start(
        """
        import os, signal
        signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"before\\n"))
        signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"before\\n"))
        @tracker.on_signal
        def save(signum):
            tracker.log({"saved": signum})
            os.write(1, b"saved\\n")
            done.append(1)
        import time
        done = []
        print("ready", flush=True)
        while not done: time.sleep(0.01)
        os.write(1, b"goes on\\n")
        """,
        **JOB,
    )
    assert script.stdout is not None and script.stdout.readline() == "ready\n"
    script.send_signal(signum)
    assert script.communicate()[0].split("\n") == ["saved", "before", "goes on", ""]
    assert script.returncode == 0
    assert scripts.points() == [(None, {"saved": int(signum)})]


def test_a_checkpoint_that_fails_is_noted(scripts: Scripts) -> None:
    scripts.run("import signal; tracker.on_signal(lambda _: 1 / 0); signal.raise_signal(signal.SIGUSR1)", **JOB)
    assert (scripts.event("note")["key"], scripts.event("note")["reason"]) == (
        "on_signal",
        "ZeroDivisionError: division by zero",
    )


def test_off_the_main_thread_it_says_why_not(scripts: Scripts) -> None:
    code = "import threading; t = threading.Thread(target=tracker.on_signal, args=(print,)); t.start(); t.join()"
    assert "main thread" in scripts.run(code, **JOB).stderr
    assert "main thread" in scripts.event("note")["reason"]


@pytest.mark.parametrize("signum", ["9", "0", "1000", "'USR1'"])
def test_a_signal_that_cannot_be_caught_is_told(scripts: Scripts, signum: str) -> None:
    assert "cannot be caught" in scripts.run(f"tracker.on_signal(print, {signum})", **JOB).stderr


def test_a_data_loader_ends_by_its_signal_and_saves_nothing(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import os, signal
        tracker.on_signal(lambda signum: os.write(1, b"saved"))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            import time
            os.write(write, b"ready")
            time.sleep(60)
            os._exit(7)
        os.read(read, 5)
        os.kill(child, signal.SIGTERM)
        print(os.waitpid(child, 0)[1])
        """,
        **JOB,
    )
    assert done.stdout.split() == [str(int(signal.SIGTERM))]
    assert os.WIFSIGNALED(int(done.stdout))


def test_the_usual_meaning_of_an_interrupt_stays(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import os, signal
        tracker.on_signal(lambda signum: os.write(1, b"saved\\n"), signal.SIGINT)
        print("ready", flush=True)
        import time
        time.sleep(60)
        """,
        **JOB,
    )
    assert script.stdout is not None and script.stdout.readline() == "ready\n"
    script.send_signal(signal.SIGINT)
    out, err = script.communicate()
    assert (out, "KeyboardInterrupt" in err) == ("saved\n", True), err
