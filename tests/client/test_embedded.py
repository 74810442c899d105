"""Not every script is a file that python runs: it may be a zip, a frozen program or an interpreter within another."""

from __future__ import annotations

import zipfile

from tests.client.conftest import Scripts
from tests.conftest import ROOT

ZIPPED = """
import tracker
tracker.init("zipped", params={"a": 1})
tracker.log({"a": 1}, step=1)
tracker.log_histogram("h", [1, 2, 3])
"""
SUBINTERPRETERS = """
try:
    import _interpreters as interpreters
    kinds = [{"config": "isolated"}, {"config": "legacy"}]
except ImportError:
    import _xxsubinterpreters as interpreters
    kinds = [{"isolated": True}, {"isolated": False}]
for number, kind in enumerate(kinds):
    inside = interpreters.create(**kind)
    code = f"import sys; sys.path[:] = {sys.path}; import tracker; tracker.init(); tracker.log({{'in': 1}}, {number})"
    interpreters.run_string(inside, code)
    interpreters.destroy(inside)
"""


def test_a_script_brings_the_client_along_in_a_zip(scripts: Scripts) -> None:
    with zipfile.ZipFile(scripts.home / "app.pyz", "w") as app:
        app.writestr("__main__.py", ZIPPED)
        for file in sorted([ROOT / "tracker/__init__.py", *(ROOT / "tracker/client").rglob("*.py")]):
            app.write(file, file.relative_to(ROOT))
    scripts.run_file("app.pyz", PYTHONPATH="")
    assert scripts.points() == [(1, {"a": 1})]
    assert scripts.event("media")["counts"]
    assert scripts.event("capture")["argv"][1:] == ["app.pyz"]
    assert "notes" not in scripts.event("capture")


def test_a_program_that_knows_no_files_and_no_arguments_logs(scripts: Scripts) -> None:
    scripts.run("""
        import os, sys
        del sys.argv, os.__file__
        sys.stdout = sys.stderr = None
        sys.executable, sys.frozen = "", True
        tracker.log({"a": 1, "text": "x"}, step=1)
    """)
    assert scripts.points() == [(1, {"a": 1})]
    assert scripts.event("capture")["packages"]


def test_subinterpreters_log_and_end_without_harm(scripts: Scripts) -> None:
    scripts.run("import sys\n" + SUBINTERPRETERS)
    folders = scripts.folders()
    assert sorted(one["step"] for folder in folders for one in scripts.messages(folder) if "metrics" in one) == [0, 1]
