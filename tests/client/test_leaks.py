"""A process that logs for weeks, or begins thousands of runs, holds no more than at its start."""

from __future__ import annotations

from tests.client.conftest import Scripts

HELD = """
import gc, os, time
def held():
    until_s = time.monotonic() + 20
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until_s: time.sleep(0.01)
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), len(gc.get_objects())
def same(before, after):
    return before[:2] == after[:2] and after[2] - before[2] < 100
"""


def test_many_calls_leave_nothing_behind(scripts: Scripts) -> None:
    done = scripts.run(
        HELD
        + """
def work(times):
    for step in range(50 * times):
        tracker.log({"loss": 0.5, "acc": step}, step)
        tracker.log({"odd": float("nan"), "deep": {"er": step}})
    for number in range(times):
        tracker.log_params({"again": number}); tracker.set_tags({"again": number})
        tracker.log_histogram("h", [1, 2, number])
work(10)
before = held()
work(200)
print(same(before, held()), before, held())
"""
    )
    assert done.stdout.startswith("True"), done.stdout


def test_many_runs_leave_nothing_behind_not_even_for_the_garbage_collector(scripts: Scripts) -> None:
    done = scripts.run(
        HELD
        + """
def work(times):
    for number in range(times):
        run = tracker.init(new=True, params={"number": number})
        run.log({"loss": number}, 1)
        run.finish()
tracker.log({"loss": 1})
work(10)
before = held()
gc.disable()
work(200)
print(sum(type(one).__name__ in ("Run", "Writer", "SpoolFile") for one in gc.get_objects()))
print(same(before, held()), before, held())
"""
    )
    living, same = done.stdout.splitlines()
    assert int(living) <= 5  # the script's own run, and the last of the others
    assert same.startswith("True"), same
