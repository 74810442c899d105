"""What a training waits for at its first call: few modules, and none that only few scripts need."""

from __future__ import annotations

from tests.client.conftest import Scripts

OF_FEW = {
    "argparse",
    "base64",
    "hashlib",
    "heapq",
    "inspect",
    "pickle",
    "signal",
    "socket",
    "subprocess",
    "typing",
    "urllib",
}
OURS = "api drops encode exits identity files no_run plain preloaded redact room run said spool typed worker writer"


def loaded(scripts: Scripts, code: str, **env: str) -> set[str]:
    """What is loaded by these lines beyond what a bare script has."""
    (scripts.home / "orjson.py").write_text("raise ImportError")  # the real one loads many
    code = f"""
        import sys
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
