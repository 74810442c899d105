"""Explain why a run is in its state: one sentence with the evidence, and what to change."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass

from tracker.errors import NotFound
from tracker.quantities import byte_size, duration
from tracker.slurm.reasons import in_words
from tracker.states import LIVE_STATES
from tracker.store import logs
from tracker.store.database import Session
from tracker.store.tables import Run, Summary
from tracker.terminal import plain

MOST_QUOTED_CHARS = 200
HARDWARE = "system/"  # begins the names of what agents measure
_QUOTED = ("FAILED", "NODE_FAIL", "LOST")
_LINES_LOOKED_AT = 10
_MIB = 1024**2
_MOST_MEMORY_BYTES = 2**50
_MEMORY, _MEMORY_PERCENT = "system/memory_bytes", "system/memory.percent"
_ENDS = {
    "OUT_OF_MEMORY": "It needed more memory than it had asked for",
    "CANCELLED": "It was cancelled",
    "PREEMPTED": "It had to make room for a job of higher priority",
    "NODE_FAIL": "A node failed under it",
    "BOOT_FAIL": "A node did not boot",
    "DEADLINE": "It could not end before its deadline",
    "REVOKED": "Another cluster took it over",
    "TIMEOUT": "It ran out of time",
    "LOST": "Nothing was heard from it any more",
}
# pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html#tag_18_08_02
_EXIT_CODES = {126: "a program that may not be executed", 127: "a command that was not found"}
_SIGNALS = {
    signal.SIGSEGV: "it touched memory that is not its own",
    signal.SIGBUS: "a file that it had mapped became shorter, or memory was missing",
    signal.SIGFPE: "an impossible calculation",
    signal.SIGILL: "an instruction that this processor does not know",
    signal.SIGABRT: "it gave up by itself",
    signal.SIGPIPE: "nobody read what it wrote any more",
    signal.SIGXCPU: "it used more processor time than it was allowed",
    signal.SIGXFSZ: "a file grew larger than allowed",
}


@dataclass(frozen=True)
class Explanation:
    """Why a run is in its state. Each is a sentence or empty; `quoted` is what the run said last, in its own words."""

    sentence: str = ""
    advice: str = ""
    quoted: str = ""

    def __str__(self) -> str:
        """All in one."""
        said = f"It said last: {self.quoted}" if self.quoted else ""
        return " ".join(filter(None, (self.sentence, self.advice, said)))


def explain(run: Run, output: str = "") -> Explanation:
    """Explain the state of a run, whose summary is loaded; nothing for one that is running or ended well.

    `output` is the end of what it printed, if that is at hand: the last line of a run that failed is quoted.
    """
    if run.state == "PENDING":
        reason = in_words(run.reason)
        advice = "It will not start like this: change it (scontrol update) or submit it anew." if reason.never else ""
        return Explanation(_sentence(reason.words), advice)
    if run.state in LIVE_STATES or run.state == "COMPLETED":
        return Explanation()
    parts = [_end(run), _how(run), _last_step(run)]
    return Explanation(_sentence(", ".join(filter(None, parts))) + _slurm_says(run), _advice(run), _quoted(run, output))


def last_words(session: Session, run: Run) -> str:
    """Return the end of what a run that failed printed, as `explain` wants it; empty where there is none."""
    if run.state not in _QUOTED:
        return ""
    for stream in ("stderr", "stdout"):
        try:
            text = logs.tail(session, run.id, stream, _LINES_LOOKED_AT).text
        except NotFound:
            continue
        if text.strip():
            return text
    return ""


def _end(run: Run) -> str:
    if run.state == "TIMEOUT" and run.time_limit_s:
        return f"it ran into its time limit of {duration(run.time_limit_s)}"
    if run.state == "CANCELLED" and (run.reason or "").startswith("by "):
        return f"it was cancelled {run.reason}"
    if run.state == "OUT_OF_MEMORY":
        used, limit_bytes = _memory(run)
        seen = f" (seen by the agent: {byte_size(used)} of {byte_size(limit_bytes)})" if used and limit_bytes else ""
        return _ENDS[run.state] + seen
    return _ENDS.get(run.state, "")


def _how(run: Run) -> str:
    if run.signal and run.state in ("TIMEOUT", "CANCELLED", "PREEMPTED"):
        return ""  # that is how Slurm ends a job
    if run.state == "OUT_OF_MEMORY":
        return ""  # 0:125 is Slurm's code for it, not the program's
    if run.signal:
        meaning = _SIGNALS.get(run.signal)  # type: ignore[call-overload]
        return f"it was killed by {_signal_name(run.signal)}" + (f": {meaning}" if meaning else "")
    if run.exit_code:
        return f"it ended with exit code {run.exit_code}" + _exit_code_in_words(run.exit_code)
    return ""


def _exit_code_in_words(code: int) -> str:
    if code in _EXIT_CODES:
        return f", which a shell gives for {_EXIT_CODES[code]}"
    if 128 < code < 128 + signal.NSIG:
        return f", which a shell gives for a program killed by {_signal_name(code - 128).partition(' ')[0]}"
    return ""


def _last_step(run: Run) -> str:
    steps = [one.last_step for one in run.summary if one.last_step is not None and not one.metric.startswith(HARDWARE)]
    return f"after step {max(steps)}" if steps else ""


def _slurm_says(run: Run) -> str:
    reason = run.reason
    if not reason or reason in ("None", "NonZeroExitCode", "RaisedSignal", "OutOfMemory", "TimeLimit"):
        return ""
    if run.state == "CANCELLED" and reason.startswith("by "):
        return ""
    is_of_slurm = run.cluster and run.state != "LOST"  # which is our own word, and so is its reason
    return f" Slurm says: {reason}." if is_of_slurm else f" {_sentence(reason)}"


def _advice(run: Run) -> str:
    if run.state == "OUT_OF_MEMORY":
        _, limit_bytes = _memory(run)
        if limit_bytes:
            return f"Ask for half as much again: --mem={_with_room(limit_bytes)}, or for smaller batches."
        return "Ask for more with --mem, or for smaller batches."
    if run.state == "TIMEOUT":
        return "Ask for more with --time, or go on from a checkpoint."
    return ""


def _memory(run: Run) -> tuple[float | None, float | None]:
    """Return the most bytes that were seen in use on a node, and the last attempt's limit; None where unknown.

    A script may log under these names what it likes.
    """
    found: dict[str, Summary] = {one.metric: one for one in run.summary}
    used, percent = found.get(_MEMORY), found.get(_MEMORY_PERCENT)
    if used is None or percent is None or not used.last or not percent.last or not used.max:
        return None, None
    limit_bytes = used.last / percent.last * 100
    if not (math.isfinite(used.max) and _MIB <= limit_bytes <= _MOST_MEMORY_BYTES):
        return None, None
    return (used.max if used.max <= limit_bytes * 1.05 else None), limit_bytes  # else an earlier attempt had more


def _with_room(limit_bytes: float) -> str:
    """Return half as much again as Slurm's option takes it: gigabytes where that is a whole number of them."""
    wanted_mib = limit_bytes * 1.5 / _MIB
    return f"{max(1, round(wanted_mib / 1024))}G" if wanted_mib >= 2048 else f"{max(1, round(wanted_mib))}M"


def _quoted(run: Run, output: str) -> str:
    """Return the last line that is not empty, without the codes of terminals."""
    if run.state not in _QUOTED:
        return ""
    lines = [line.strip() for line in plain(output).splitlines() if line.strip()]
    return lines[-1][:MOST_QUOTED_CHARS] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""
