"""The one background thread of a process, for what must not hold up the training: there is one while there is work."""

from __future__ import annotations

import os
import sys
import threading
import time

from tracker.client.typed import TYPE_CHECKING, NamedTuple

try:
    from _queue import Empty, SimpleQueue  # `queue` makes four more classes and loads `heapq`
except ImportError:
    from queue import Empty, SimpleQueue

if TYPE_CHECKING:
    from typing import Any, Callable

    Job = Callable[[], Any]

MOST_WAITING = 1000
IDLE_S = 0.1
# How long the work here may hold Python while the training waits for it; Python's own 5 ms are too long for `log`.
GIVE_WAY_S = 0.0005
EXIT_MOST_S = 2.0  # what a process may be held at its end, altogether


class _Work(NamedTuple):
    job: Job
    what: str


def _tell_nobody(_key: str, _reason: str) -> None:
    """Stand in until there is a run that takes notes."""


report: Callable[[str, str], Any] = _tell_nobody  # takes what failed and why; the run's notes, once `api` is there


class _Worker:
    """A thread and its queue. Everything here may be called in a signal handler: no lock is waited for."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Work] = SimpleQueue()  # unlike queue.Queue it may be used within itself
        self._periodic: list[_Periodic] = []
        self._starting = threading.Lock()  # held while there is a thread, taken by whoever starts it
        self.thread: threading.Thread | None = None
        self._exit_left_s = EXIT_MOST_S
        self.is_awaited = self._is_ending = False

    def later(self, job: Job, what: str) -> bool:
        if self._queue.qsize() >= MOST_WAITING:
            report(what, f"{MOST_WAITING} pieces of background work are waiting already")
            return False
        self._queue.put(_Work(job, what))
        return self._is_started(what)

    def every(self, seconds: float, job: Job, what: str) -> None:
        self.later(lambda: self._periodic.append(_Periodic(seconds, job, what)), what)

    def drain(self) -> bool:
        is_idle = not self._starting.locked() and self._queue.empty()
        if is_idle or self.thread is threading.current_thread():
            return True
        done = threading.Lock()
        done.acquire()
        self._queue.put(_Work(done.release, "drain"))
        if not self._is_started("background work"):
            return False  # nobody does it, however long we wait
        began_s = time.monotonic()
        self.is_awaited = True
        in_time = self._exit_left_s > 0 and done.acquire(timeout=self._exit_left_s)
        self.is_awaited = False
        self._exit_left_s -= time.monotonic() - began_s
        return in_time

    def end(self) -> bool:
        is_done = self.drain()
        thread, self._is_ending = self.thread, True
        if is_done and thread is not None and self._starting.locked() and thread is not threading.current_thread():
            self._queue.put(_Work(lambda: None, "end"))  # so that it looks up
            thread.join(max(0.0, self._exit_left_s))
        return is_done

    def _is_started(self, what: str) -> bool:
        if not self._starting.acquire(blocking=False):
            return True
        try:
            thread = threading.Thread(target=self._work, name="tracker", daemon=True)
            thread.start()
        except RuntimeError as problem:  # a limit of the system, Python is ending, or a subinterpreter may have none
            self._starting.release()
            report(what, f"no background thread: {problem}")
            return False
        self.thread = thread
        return True

    def _work(self) -> None:
        is_idle = False
        while not is_idle or (self._periodic and not self._is_ending):
            try:
                _do(self._queue.get(timeout=self._pause_s()))
                is_idle = False
            except Empty:
                is_idle = True
            for periodic in self._periodic:
                periodic.do_if_due()
        # Nothing to do: a script that forks has no thread of ours, which Python 3.12 would warn of.
        self._starting.release()
        if not self._queue.empty():  # it came in this moment
            self._is_started("background work")

    def _pause_s(self) -> float:
        if self._is_ending:
            return 0.0
        due_s = min((periodic.due_s for periodic in self._periodic), default=None)
        return IDLE_S if due_s is None else max(0.0, due_s - time.monotonic())


class _Periodic:
    def __init__(self, seconds: float, job: Job, what: str) -> None:
        self.due_s = time.monotonic() + seconds
        self._seconds = seconds
        self._work = _Work(job, what)

    def do_if_due(self) -> None:
        if time.monotonic() >= self.due_s:
            _do(self._work)
            self.due_s = time.monotonic() + self._seconds


def _do(work: _Work) -> None:
    _give_way()
    try:
        work.job()
    except Exception as problem:  # the outermost place of this thread: other work waits behind
        report(work.what, f"{type(problem).__name__}: {problem}")
    finally:
        _give_way_no_more()


def _give_way() -> None:
    global _usual_s, _ours_s
    usual_s = sys.getswitchinterval()
    if usual_s > GIVE_WAY_S:
        sys.setswitchinterval(GIVE_WAY_S)
        _usual_s, _ours_s = usual_s, sys.getswitchinterval()  # it is kept in whole microseconds


def _give_way_no_more() -> None:
    global _usual_s
    if _usual_s is not None and sys.getswitchinterval() == _ours_s:  # else the script has set its own meanwhile
        sys.setswitchinterval(_usual_s)
    _usual_s = None


_usual_s: float | None = None  # the interpreter's switch interval while ours is set
_ours_s = 0.0
_worker = _Worker()


def later(job: Job, what: str) -> bool:
    """Do this in the background, after what was given before. False, and a note, when too much is waiting.

    `what` names the work in the note that is taken when it raises. A process that ends does not wait for more than 2 s.
    """
    return _worker.later(job, what)


def every(seconds: float, job: Job, what: str) -> None:
    """Do this in the background each so many seconds, as long as the process lives. What it raises becomes a note."""
    _worker.every(seconds, job, what)


def is_here() -> bool:
    """Say whether it is the background thread that asks."""
    return _worker.thread is threading.current_thread()


def is_awaited() -> bool:
    """Say whether somebody waits in `drain` now: work that makes pauses, so as not to disturb, makes none then."""
    return _worker.is_awaited


def drain() -> bool:
    """Wait until what was given before is done; False if it takes longer than all waits of a process may: 2 s."""
    return _worker.drain()


def end() -> bool:
    """Do as `drain`, then end the thread: Python breaks off what is running at its end, or is broken off by it."""
    return _worker.end()


def _forget_in_child() -> None:
    # The thread and what waits for it are the parent's.
    global _worker
    _give_way_no_more()
    _worker = _Worker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
