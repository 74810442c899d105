"""The set-up repairs itself, and costs nothing the second time."""

from __future__ import annotations

from pathlib import Path

from tests.lab.conftest import as_alice


def test_an_interrupted_set_up_is_repaired_by_the_next_start(repaired_checkout: Path) -> None:
    answer = as_alice(repaired_checkout, ".venv/bin/tracker", "--version")
    assert answer.returncode == 0, answer.stderr
    assert (repaired_checkout / "web" / "static" / "vendor" / "uPlot.esm.js").exists()


def test_a_second_set_up_has_nothing_to_do(repaired_checkout: Path) -> None:
    answer = as_alice(repaired_checkout, "./run", "setup")
    assert answer.returncode == 0
    assert answer.stdout.splitlines() == ["ready: .venv/bin/python, .venv/bin/tracker"]


def test_the_pins_name_versions_and_nothing_else(repaired_checkout: Path) -> None:
    lines = (repaired_checkout / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert all(len(pin.split("==")) == 2 and "/" not in pin and "@" not in pin for pin in pins)
    listing = [".venv/bin/python", "-m", "pip", "list", "--format=freeze"]
    installed = as_alice(repaired_checkout, *listing).stdout.replace("_", "-").splitlines()
    known = {pin.replace("_", "-") for pin in pins}
    assert {line for line in installed if not line.startswith(("slurm-tracker==", "setuptools=="))} <= known
