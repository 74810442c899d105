"""What a training waits for at its first call: few modules, and none that only few scripts need."""

from __future__ import annotations

import pytest

from tests.client.conftest import Scripts

OF_FEW = {"argparse", "base64", "hashlib", "inspect", "pickle", "signal", "socket", "subprocess", "typing", "urllib"}
OURS = "api encode exits identity plain preloaded room run spool typed worker"


def loaded(scripts: Scripts, code: str, **env: str) -> set[str]:
    """What is loaded by these lines beyond what a bare script has."""
    code = f"""
        import sys
        sys.modules["orjson"] = None
        before = set(sys.modules)
        {code}
        print(*set(sys.modules) - before)
    """
    return set(scripts.run(code, **env).stdout.split())


def test_the_first_call_loads_little(scripts: Scripts) -> None:
    first = loaded(scripts, "tracker.init('e', params={'a': 1}); tracker.log({'a': 1.0})", TRACKER_CAPTURE="off")
    assert not first & OF_FEW
    assert {name[15:] for name in first if name.startswith("tracker.client.")} == set(OURS.split())
    assert len(first) <= 70


@pytest.mark.parametrize("calls", ["tracker.init()", "tracker.init(new=True).log({'a': 1})"])
def test_the_background_loads_nothing_of_python(scripts: Scripts, calls: str) -> None:
    in_front = loaded(scripts, calls, TRACKER_CAPTURE="off")
    with_capture = loaded(scripts, f"{calls}; from tracker.client import worker; assert worker.drain()")
    assert {name for name in with_capture - in_front if not name.startswith("tracker.")} <= {"_sha1"}
