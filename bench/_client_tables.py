"""The tables of `./run bench client`: one column a tracker, one row a figure, and what is asked of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench._figures import Row, Table, mean, median, p99, p999, ratio
from bench._rounds import NOTHING_NAME, Answers, Measured

OURS, OURS_JSON, RIVAL = "tracker", "tracker-json", "trackio"
SCALARS = ("1 scalar", "10 scalars")


def tables(found: Measured, titles: Mapping[str, str]) -> list[Table]:
    """All tables; a column for each tracker that was measured."""
    return [
        Table("One call, in a tight loop", [*_calls(SCALARS[0], found.one), *_calls(SCALARS[1], found.ten)]).titled(
            titles
        ),
        Table("A whole short run", [*_starts(found.starts), *_whole(found.whole)]).titled(titles),
        Table("A paced loop", _paced(found.paced)).titled(titles),
        Table("`kill -9` of the logging process", _killed(found.killed)).titled(titles),
        *_captured(found.captured),
    ]


def _row(name: str, answers: Answers, figure: Callable[[str], float | str | None]) -> Row:
    """A figure of each tracker; the program that does nothing is no column."""
    return {"": name, **{tracker: figure(tracker) for tracker in answers if tracker != NOTHING_NAME}}


# -- one call


def p50s_us(answers: list[dict[str, Any]], calls: str = "log") -> list[float]:
    """Each round's median of the calls, in microseconds."""
    return [median(answer[calls]) / 1000 for answer in answers]


def p99s_us(answers: list[dict[str, Any]]) -> list[float]:
    """Each round's 99th percentile of the calls, in microseconds."""
    return [p99(answer["log"]) / 1000 for answer in answers]


def over_write(answers: Answers, tracker: str) -> float:
    """The median call as a multiple of a bare write in the same round."""
    return ratio(p50s_us(answers[tracker]), p50s_us(answers[OURS], "write"))


def times_ours(answers: Answers, tracker: str) -> float:
    """The median call as a multiple of ours in the same round."""
    return ratio(p50s_us(answers[tracker]), p50s_us(answers[OURS]))


def _calls(what: str, answers: Answers) -> list[Row]:
    def slow(tracker: str) -> str:
        calls = [call for answer in answers[tracker] for call in answer["log"]]
        return f"{sum(call > 1_000_000 for call in calls):,} of {len(calls):,}"

    return [
        _row(f"{what}, p50 µs", answers, lambda tracker: median(p50s_us(answers[tracker]))),
        _row(f"{what}, p99 µs", answers, lambda tracker: median(p99s_us(answers[tracker]))),
        _row(f"{what}, p50 ÷ tracker", answers, lambda tracker: times_ours(answers, tracker)),
        _row(f"{what}, p50 ÷ write", answers, lambda tracker: over_write(answers, tracker)),
        _row(f"{what}, calls over 1 ms", answers, slow),
    ]


# -- a whole run


def of_each(answers: list[dict[str, Any]], key: str) -> list[float]:
    """One figure of each round."""
    return [float(answer[key]) for answer in answers]


def end_over_nothing_ms(answers: Answers, tracker: str) -> float:
    """How much longer the end of a process takes than that of a program that logs nothing."""
    return median(of_each(answers[tracker], "end_ms")) - median(of_each(answers[NOTHING_NAME], "end_ms"))


def _starts(answers: Answers) -> list[Row]:
    return [
        _row("import over bare Python, ms", answers, _median_of(answers, "over_bare_ms")),
        _row("the same, ms of a processor", answers, _median_of(answers, "over_bare_cpu_ms")),
    ]


def _median_of(answers: Answers, key: str, unit: float = 1) -> Callable[[str], float]:
    return lambda tracker: median(of_each(answers[tracker], key)) / unit


def _whole(answers: Answers) -> list[Row]:
    def ready(tracker: str) -> float:
        keys = ("import_ms", "init_ms", "first_log_ms")
        return median([sum(answer[key] for key in keys) for answer in answers[tracker]])

    return [
        _row("first init, ms", answers, _median_of(answers, "init_ms")),
        _row("first log, ms", answers, _median_of(answers, "first_log_ms")),
        _row("import, init and first log, ms", answers, ready),
        _row("the same, ms of a processor", answers, _median_of(answers, "ready_cpu_ms")),
        _row("end over nothing, ms", answers, lambda tracker: end_over_nothing_ms(answers, tracker)),
        _row("threads", answers, _median_of(answers, "threads")),
        _row("helpers (processes)", answers, _median_of(answers, "helpers")),
        _row("memory, MB", answers, _median_of(answers, "resident_bytes", 1e6)),
        _row("memory of helpers, MB", answers, _median_of(answers, "helpers_resident_bytes", 1e6)),
        _row("inodes", answers, _median_of(answers, "inodes")),
    ]


# -- beside work


def _paced(answers: Answers) -> list[Row]:
    def slower_pct(middle: Callable[[list[float]], float]) -> Callable[[str], float]:
        steps = {who: [middle(answer["step"]) for answer in answers[who]] for who in answers}
        return lambda tracker: (ratio(steps[tracker], steps[NOTHING_NAME]) - 1) * 100

    def cpu_us(tracker: str) -> float:
        return median([answer["cpu_s"][0] / len(answer["step"]) * 1e6 for answer in answers[tracker]])

    return [
        _row("log p50 µs", answers, lambda tracker: median(p50s_us(answers[tracker]))),
        _row("log p99 µs", answers, lambda tracker: median(p99s_us(answers[tracker]))),
        _row("median step (work and log), slower by %", answers, slower_pct(median)),
        _row("mean step, slower by %", answers, slower_pct(mean)),
        _row(
            "processor time of a step over nothing, µs", answers, lambda tracker: cpu_us(tracker) - cpu_us(NOTHING_NAME)
        ),
    ]


# -- while the surroundings are captured


def _captured(answers: Answers) -> list[Table]:
    if not answers:
        return []
    figures: dict[str, Callable[[list[float]], float]] = {"p50": median, "p99": p99, "p99.9": p999, "most": max}
    heads = {"on": "while a large repository is captured", "off": "while nothing is"}
    rows: list[Row] = []
    for name, figure in figures.items():
        of_each_head = {head: median([figure(one["log"]) / 1000 for one in answers[on]]) for on, head in heads.items()}
        rows.append({"": f"log {name} µs", **of_each_head})
    slow: Row = {"": "calls over 1 ms"}
    for on, head in heads.items():
        calls = [call for one in answers[on] for call in one["log"]]
        slow[head] = f"{sum(call > 1_000_000 for call in calls):,} of {len(calls):,}"
    return [Table("One call each millisecond, in the first 3 s of a run", [*rows, slow])]


# -- kill -9


def lost(answers: list[dict[str, Any]]) -> int:
    """Calls that had returned and were not there afterwards, over all kills."""
    return sum(int(answer["lost"]) for answer in answers)


def _killed(answers: Answers) -> list[Row]:
    def worst(tracker: str) -> str:
        losses = sorted(answer["lost"] for answer in answers[tracker])
        return f"{losses[0]:,} to {losses[-1]:,}"

    def share_pct(tracker: str) -> float:
        return 100 * lost(answers[tracker]) / sum(of_each(answers[tracker], "logged"))

    return [
        _row("kills", answers, lambda tracker: len(answers[tracker])),
        _row("calls that had returned", answers, lambda tracker: sum(of_each(answers[tracker], "logged"))),
        _row("lost of a process", answers, worst),
        _row("lost of all, %", answers, share_pct),
    ]


# -- bars


def bars(found: Measured) -> Table:
    """What is asked of tracker, what was found, and whether that is enough."""
    rows = [*_call_bars(found), *_process_bars(found)]
    if RIVAL in found.one:
        for what, answers in zip(SCALARS, (found.one, found.ten), strict=True):
            rows.append(_at_least(f"{what}, trackio's p50 ÷ tracker", times_ours(answers, RIVAL), 2))
    return Table("What is asked of tracker", rows)


def _call_bars(found: Measured) -> list[Row]:
    rows = []
    for what, answers, most_us, most_writes in zip(SCALARS, (found.one, found.ten), (2.5, 5), (3.5, 7), strict=True):
        rows += [
            _at_most(f"{what}, p50 µs", median(p50s_us(answers[OURS])), most_us),
            _at_most(f"{what}, p50 ÷ write", over_write(answers, OURS), most_writes),
            _at_most(f"{what}, json, p50 µs", median(p50s_us(answers[OURS_JSON])), 2 * most_us),
            _at_most(f"{what}, p99 µs", median(p99s_us(answers[OURS])), 25),
        ]
    return rows


def _process_bars(found: Measured) -> list[Row]:
    whole, starts = found.whole[OURS], found.starts[OURS]
    return [
        _at_most("import over bare Python, ms", median(of_each(starts, "over_bare_ms")), 30),
        _at_most("first init, ms", median(of_each(whole, "init_ms")), 20),
        _at_most("import, init and first log, ms of a processor", median(of_each(whole, "ready_cpu_ms")), 20),
        _at_most("end over nothing, ms", end_over_nothing_ms(found.whole, OURS), 2000),
        _at_most("threads", max(of_each(whole, "threads")), 1),
        _at_most("helpers (processes)", max(of_each(whole, "helpers")), 0),
        _at_most("memory, MB", median(of_each(whole, "resident_bytes")) / 1e6, 6),
        _at_most("inodes", max(of_each(whole, "inodes")), 3),
        _at_most("points lost by kill -9", lost(found.killed[OURS]) + lost(found.killed[OURS_JSON]), 0),
    ]


def _at_most(name: str, value: float, bar: float) -> Row:
    return {"": name, "found": value, "bar": f"at most {bar:g}", "verdict": "reached" if value <= bar else "missed"}


def _at_least(name: str, value: float, bar: float) -> Row:
    return {"": name, "found": value, "bar": f"at least {bar:g}", "verdict": "reached" if value >= bar else "missed"}


# -- words


def told(found: Measured, facts: Mapping[str, str | float], versions: Mapping[str, str]) -> str:
    """On what it was measured, beside which versions, and how much the machine's other work was felt."""
    writes = [each for answers in (found.one, found.ten) for each in p50s_us(answers[OURS], "write")]
    bare = [answer["bare_ms"] for answers in found.starts.values() for answer in answers]
    beside = "".join(f", {name} {version}" for name, version in versions.items())
    done = {"tight loops": found.one, "imports": found.starts, "short runs": found.whole, "paced loops": found.paced}
    rounds = ", ".join(f"{len(answers[OURS])} of {what}" for what, answers in done.items())
    machine = "{date} on {cores} cores, Linux {linux}, Python {python}".format_map(facts)
    return (
        f"Measured {machine}{beside}.\nRounds: {rounds}.\nNoise: from process to process a bare write took "
        f"{min(writes):.3g} to {max(writes):.3g} µs (p50) and a bare Python {min(bare):.3g} to {max(bare):.3g} ms;\n"
        f"the load was {facts['load_before']} before and {facts['load_after']} after."
    )
