"""The house's rules: who may know whom, and what the job's side may load."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import ROOT
from tracker import events
from tracker.client import encode, spool

JOB_SIDE = ("tracker", "tracker.client", "tracker.client.shell", "tracker.agent.main")

FASTER_ENCODER = "orjson"  # used where a job has it


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a statement loads into a fresh Python."""
    code = f"import sys; before = set(sys.modules)\n{statement}\nprint(*set(sys.modules) - before)"
    said = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in said.stdout.split()}


def test_rooms_depend_downwards() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    said = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert said.returncode == 0, said.stdout


def test_the_job_side_loads_the_standard_library_only() -> None:
    for module in JOB_SIDE:
        foreign = loaded_by(f"import {module}") - set(sys.stdlib_module_names) - {"tracker", FASTER_ENCODER}
        assert foreign == set(), module


def test_importing_tracker_loads_few_modules() -> None:
    code = "import sys; before = set(sys.modules); import tracker; print(len(set(sys.modules) - before))"
    said = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert int(said.stdout) <= 40


def test_help_is_shown_without_the_server_s_libraries() -> None:
    foreign = loaded_by("import tracker.cli.commands")
    assert not foreign & {"flask", "sqlalchemy", "numpy", "gunicorn", "alembic"}


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"tracker", "web", "slurm_hooks", "sbatch_templates"}
    needed = {
        "slurm_hooks/prolog.sh",
        "sbatch_templates/train.sbatch.j2",
        "tracker/py.typed",
        "web/templates/base.html",
    }
    assert needed <= set(names)
    assert any(name.startswith("web/static/vendor/") for name in names), (
        "run ./run setup: the page's scripts are missing"
    )


def test_what_the_client_says_again_to_load_less_is_what_events_says() -> None:
    assert encode.MAX_LINE_BYTES == events.MAX_LINE_BYTES
    folders = ["dev.12", "dev.0", "dev.012", "d" * 64 + ".1", "d" * 65 + ".1", "dev." + "9" * 18, "dev." + "9" * 19]
    for name in [*folders, "local." + "a" * 32, "local.12", "local." + "A" * 32, "dev", ".1", "de/v.1", "dev.1\n"]:
        assert bool(spool.JOB_FOLDER.match(name)) == bool(events.JobFolder.parse(name)), name
