"""How Slurm counts GPUs, by gres.conf."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.agent.hardware.gres import gpus_by_file


@pytest.mark.parametrize(
    ("conf", "by_file"),
    [
        ("AutoDetect=nvml\n", False),
        ("AutoDetect=off\nNodeName=n[1-2] Name=gpu Type=a100 File=/dev/nvidia[0-3]\n", True),
        ("name=GPU file=/dev/nvidia0\n", True),
        ("AutoDetect=nvml\nName=gpu File=/dev/nvidia[0-3]\n", False),
        ("# Name=gpu File=/dev/nvidia0\nName=mps Count=100\n", False),
    ],
)
def test_files_count_when_slurm_does_not_look_itself(tmp_path: Path, conf: str, by_file: bool) -> None:
    (tmp_path / "gres.conf").write_text(conf)
    assert gpus_by_file(["/nowhere", str(tmp_path)]) is by_file


def test_without_gres_conf_slurm_looks_itself() -> None:
    assert gpus_by_file(["/nowhere"]) is False
