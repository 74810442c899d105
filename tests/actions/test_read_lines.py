"""Lines of a spool file are read together where they can be, to the same end as one by one."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.actions import read_points
from tracker.actions.read_lines import Lines, read_lines

STEPS = st.one_of(st.integers(-5, 50), st.sampled_from([2**63 - 1, -(2**63), 2**63, 2**64, 3.0, 3.5, True, "3", None]))
TIMES = st.one_of(st.floats(0, 2e9), st.integers(0, 2**31), st.sampled_from([-1, 1e300, "now", None, True]))
VALUES = st.one_of(
    st.floats(width=64, allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "1.5", True, None, [], {"b": 1.0}]),
)
NAMES = st.sampled_from(["loss", "acc", "a", "a/b", "", "x" * 600, "nul\0", "ü"])
METRICS = st.one_of(st.dictionaries(NAMES, VALUES, max_size=4), st.just(3))
PLAIN = st.fixed_dictionaries(
    {"metrics": st.dictionaries(st.sampled_from(["loss", "acc"]), st.floats(-1e9, 1e9), min_size=1)}
    | {"step": st.integers(0, 99), "time": st.floats(0, 2e9)}
)
ODD = st.fixed_dictionaries({"metrics": METRICS}, optional={"step": STEPS, "time": TIMES, "more": st.just(1)})
OTHERS = st.sampled_from([{"event": "note", "key": "k", "reason": "r"}, {"event": "nope"}, {"event": "tags"}, 3])
MESSAGES = st.lists(st.one_of(PLAIN, PLAIN, ODD, OTHERS), max_size=30)


def told(said: Lines) -> Any:
    """Everything that lines say, to compare."""
    blocks = said.points.blocks(start=7, now_us=5, skew_us=0)
    points = said.points
    columns = [
        (one.metrics, one.lines.tolist(), one.steps.tolist(), one.times_us.tolist(), one.values.tobytes())
        for one in blocks
    ]
    return columns, points.first_step, points.next_step, points.lines, points.counted, points.notes, said.rejected


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_lines_that_are_read_together_say_what_they_say_one_by_one(messages: list[Any]) -> None:
    raw = b"".join(json.dumps(one).encode() + b"\n" for one in messages)
    together = told(read_lines(raw))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(read_points.PointLines, "_take_together", lambda *_: False)
        assert told(read_lines(raw)) == together


@pytest.mark.parametrize(
    ("word", "value"),
    [("NaN", math.nan), ("nan", math.nan), ("-nan", math.nan), ("inf", math.inf), ("-Infinity", -math.inf)],
)
def test_words_for_what_is_not_finite_are_taken_for_it(word: str, value: float) -> None:
    raw = f'{{"metrics":{{"x": {word},"y":2.5}},"step":1,"time":1}}\n'.encode()
    (block,) = read_lines(raw).points.blocks(start=0, now_us=0, skew_us=0)
    assert block.metrics == ("x", "y")
    np.testing.assert_array_equal(block.values[:, 0], [value, 2.5])


def test_a_bad_key_costs_itself_and_not_its_line() -> None:
    raw = b'{"metrics":{"a\\ud800":1,"b\xff":2,"c":[],"d":4},"step":1}\n'
    said = read_lines(raw)
    (block,) = said.points.blocks(start=0, now_us=0, skew_us=0)
    assert block.values[:, 0].tolist() == [1.0, 2.0, 4.0]
    assert (said.rejected, said.points.notes) == (0, {"c": "list is no number"})


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"a":' * 5000, b"1" * 5000, b'"nan', b"{nan}", b"\xff", b'{"x":: nan }']
)
def test_what_is_no_json_is_rejected(line: bytes) -> None:
    assert read_lines(line + b"\n").rejected == 1


def test_params_that_cannot_be_written_again_are_told_so() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    said = read_lines(json.dumps({"event": "params", "params": {"deep": deep, "half": ["\ud800"]}}).encode())
    assert said.params == dict.fromkeys(("deep", "half"), "a list that cannot be written as JSON")
