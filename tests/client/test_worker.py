"""What is done in the background is done in order, never in the way, and told when it fails."""

from __future__ import annotations

import time

from tests.client.conftest import Scripts

THREADS = "import os\ndef threads(): return len(os.listdir('/proc/self/task'))\n"


def run(scripts: Scripts, code: str) -> str:
    return scripts.run(
        "import os, sys, time\nfrom tracker.client import worker\n" + THREADS + code, TRACKER_CAPTURE="off"
    ).stdout


def test_logging_needs_no_thread_and_background_work_one(scripts: Scripts) -> None:
    said = run(
        scripts,
        """
tracker.init("e", params={"a": 1})
tracker.log({"a": 1})
print(threads())
for _ in range(50): worker.later(lambda: tracker.log({"b": 1}), "b")
worker.every(0.01, lambda: None, "nothing")
print(threads())
""",
    )
    assert said.split() == ["1", "2"]
    assert sum("b" in metrics for _, metrics in scripts.points()) == 50


def test_work_that_raises_is_noted_and_the_next_is_done(scripts: Scripts) -> None:
    run(
        scripts,
        """
tracker.init()
worker.later(lambda: 1 / 0, "a digest")
worker.later(lambda: tracker.log({"after": 1}), "b")
""",
    )
    note = scripts.event("note")
    assert (note["key"], note["reason"]) == ("a digest", "ZeroDivisionError: division by zero")
    assert scripts.points() == [(None, {"after": 1})]


def test_what_is_done_again_and_again_goes_on_after_a_failure(scripts: Scripts) -> None:
    said = run(
        scripts,
        """
import threading
enough, calls = threading.Event(), []
def tick():
    calls.append(time.monotonic())
    if len(calls) == 5: enough.set()
    if len(calls) == 2: raise ValueError("once")
tracker.init()
worker.every(0.01, tick, "ticks")
print(enough.wait(20), min(later - earlier for earlier, later in zip(calls, calls[1:])) >= 0.01)
""",
    )
    assert said.split() == ["True", "True"]
    assert scripts.event("note")["reason"] == "ValueError: once"


def test_a_queue_that_is_full_says_so(scripts: Scripts) -> None:
    said = run(
        scripts,
        """
tracker.init()
worker.later(lambda: time.sleep(1), "slow")
taken = [worker.later(lambda: None, "more") for _ in range(1500)]
print(taken.index(False) in (1000, 1001), taken[-1])
""",
    )
    assert said.split() == ["True", "False"]
    assert "1000 pieces" in scripts.event("note")["reason"]


def test_where_no_thread_can_be_started_the_end_waits_for_none(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import threading, time
        from tracker.client import worker
        def refuse(thread): raise RuntimeError("can't start new thread")
        threading.Thread.start = refuse
        worker._worker._exit_left_s = 60
        tracker.log({"a": 1})
        worker.later(print, "work")
        began_s = time.monotonic()
        tracker.finish()
        print(time.monotonic() - began_s < 30)
    """
    )
    assert done.stdout.split() == ["True"]


def test_a_hanging_job_holds_no_process_for_long_and_is_told(scripts: Scripts) -> None:
    began_s = time.monotonic()
    run(
        scripts,
        'tracker.init(); worker.later(lambda: time.sleep(60), "hangs"); tracker.finish(); tracker.log({"a": 1})',
    )
    assert time.monotonic() - began_s < 30
    notes = [one for folder in scripts.folders() for one in scripts.messages(folder) if one.get("event") == "note"]
    assert {one["key"] for one in notes} == {"background work"}


def test_what_was_queued_stands_before_the_goodbye(scripts: Scripts) -> None:
    run(scripts, 'tracker.init(); worker.later(lambda: time.sleep(0.2) or tracker.log({"late": 1}), "late")')
    assert [one.get("event") for one in scripts.messages()] == ["writer", None, "finish"]


def test_a_forked_child_begins_without_its_parents_work(scripts: Scripts) -> None:
    said = run(
        scripts,
        """
import threading
go = threading.Event()
tracker.init()
worker.later(go.wait, "wait")
worker.later(lambda: tracker.log({"parent": os.getpid()}), "parent's")
pid = os.fork()
if pid == 0:
    print(threads(), flush=True)
    worker.later(lambda: tracker.log({"child": 1}), "child's")
    worker.drain()
    print(threads(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
go.set()
print(os.getpid())
""",
    )
    before, after, parent = said.split()
    assert (before, after) == ("1", "2")
    logged = [metrics for _, metrics in scripts.points()]
    assert sorted(logged, key=str) == [{"child": 1}, {"parent": int(parent)}]


def test_signal_handlers_may_queue_work(scripts: Scripts) -> None:
    run(
        scripts,
        """
import signal
tracker.init()
signal.signal(signal.SIGALRM, lambda *_: worker.later(lambda: tracker.log({"alarm": 1}), "alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for number in range(3000): worker.later(lambda: None, "work")
signal.setitimer(signal.ITIMER_REAL, 0)
""",
    )
    assert [one["exit_code"] for one in scripts.messages() if one.get("event") == "finish"] == [0]


def test_background_work_holds_python_for_half_a_millisecond_at_most_and_puts_the_interval_back(
    scripts: Scripts,
) -> None:
    said = run(
        scripts,
        """
seen = []
look = lambda: seen.append(round(sys.getswitchinterval(), 6))
tracker.init()
for interval_s in (0.005, 0.0001):
    sys.setswitchinterval(interval_s)
    worker.later(look, "a look")
    worker.drain()
    look()
sys.setswitchinterval(0.005)
worker.later(lambda: sys.setswitchinterval(0.002), "the script's own")
worker.drain()
look()
forked = []
def fork():
    pid = os.fork()
    if not pid:
        os._exit(int(round(sys.getswitchinterval(), 6) != 0.002))
    forked.append(os.waitpid(pid, 0)[1])
worker.later(fork, "a fork")
worker.drain()
print(*seen, *forked)
""",
    )
    assert said.split() == ["0.0005", "0.005", "0.0001", "0.0001", "0.002", "0"]
