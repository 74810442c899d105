"""How an agent's rounds follow each other: once, or until a signal ends them."""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import Any, Callable

from tracker.agent.agent import Agent, say
from tracker.agent.server import Server, Unreachable
from tracker.agent.stop import Stop

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_GRACE_S = 3.0
_ONCE_ATTEMPTS = 4


def ship_for_ever(agent: Agent, stop: Stop, interval_s: float, tell: Callable[[], None] = lambda: None) -> int:
    """Ship until asked to stop. `tell` is called after each look."""
    pause_s, told = 0.0, ""
    while not stop.is_asked:
        try:
            more = agent.round()
            if told:
                say("the server answers again")
            pause_s, told = 0.0, ""
            tell()
            stop.wait(0 if more else interval_s)
        except Unreachable as problem:
            if str(problem) != told and not stop.is_asked:
                told = str(problem)
                say(f"will try again, nothing is lost: {told}")
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2 or _PAUSE_S)
            stop.wait(pause_s * random.uniform(0.5, 1.0))  # a thousand agents must not come back at the same moment
    return 0


def ship_once(agent: Agent, tell: Callable[[], None] = lambda: None) -> int:
    """Ship what is there. Returns 0 if the server has all of it. `tell` is called after each request."""
    for attempt in range(_ONCE_ATTEMPTS):
        try:
            more = True
            while more:
                more = agent.round()
                tell()
            if agent.is_drained():
                return 0
            say("not everything was shipped: the lines above say why")
            return 1
        except Unreachable as problem:
            say(f"not everything was shipped: {problem}")
            if attempt + 1 < _ONCE_ATTEMPTS:
                time.sleep(_PAUSE_S * 2**attempt)
    return 1


def stop_on_signals(server: Server) -> Stop:
    """Return what a signal to end asks to stop."""
    stop = Stop()

    def end(_signal: int, _frame: Any) -> None:
        if not stop.is_asked:
            stop.ask()
            # The request under way may end, a hanging server may not hold us.
            breaker = threading.Timer(_GRACE_S, server.abort)
            breaker.daemon = True
            breaker.start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return stop
