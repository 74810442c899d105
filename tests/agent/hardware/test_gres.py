"""How Slurm counts GPUs, by gres.conf."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracker.agent.hardware.gres import MOST_FILES, device_number, expanded, gpu_files


@pytest.mark.parametrize(
    ("conf", "files"),
    [
        ("AutoDetect=nvml\n", None),
        ("AutoDetect=off\nNodeName=n[1-2] Name=gpu Type=t File=/dev/nvidia[0-1]\n", ["/dev/nvidia0", "/dev/nvidia1"]),
        ("name=GPU file=/dev/nvidia0 Cores=0-3\n", ["/dev/nvidia0"]),
        ("AutoDetect=nvml\nName=gpu File=/dev/nvidia[0-3]\n", None),
        ("NodeName=n9 AutoDetect=nvml\nNodeName=n1 Name=gpu File=/dev/nvidia3\n", ["/dev/nvidia3"]),
        ("# Name=gpu File=/dev/nvidia0\nName=mps Count=100\n", None),
        ("Name=gpu Type=b File=/dev/nvidia2,/dev/nvidia0\nName=gpu Type=a \\\n File=/dev/nvidia1\n",
         ["/dev/nvidia2", "/dev/nvidia0", "/dev/nvidia1"]),
        ("NodeName=n2 Name=gpu File=/dev/nvidia0\nNodeName=n1 Name=gpu File=/dev/nvidia1\n", ["/dev/nvidia1"]),
    ],
)  # fmt: skip
def test_files_count_in_the_order_in_which_they_are_written(tmp_path: Path, conf: str, files: list[str] | None) -> None:
    (tmp_path / "gres.conf").write_text(conf)
    expected = None if files is None else [[one] for one in files]
    assert gpu_files(["/nowhere", str(tmp_path)], "n1") == expected


@pytest.mark.parametrize("node", ["n4321", "r2n17"])
def test_a_line_may_be_for_thousands_of_nodes(tmp_path: Path, node: str) -> None:
    (tmp_path / "gres.conf").write_text("NodeName=n[0001-5000],r[1-2]n[01-20] Name=gpu File=/dev/nvidia1\n")
    assert gpu_files([str(tmp_path)], node) == [["/dev/nvidia1"]]
    assert gpu_files([str(tmp_path)], f"{node}0") is None


def test_several_files_of_a_part_are_one_gpu(tmp_path: Path) -> None:
    part = "MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap21,/dev/nvidia-caps/nvidia-cap22"
    (tmp_path / "gres.conf").write_text(f"Name=gpu Type=1g.5gb {part}\nName=gpu File=/dev/nvidia1\n")
    (first, second) = gpu_files([str(tmp_path)], "n1") or []
    assert (len(first), first[0], second) == (3, "/dev/nvidia0", ["/dev/nvidia1"])


def test_without_gres_conf_slurm_looks_itself() -> None:
    assert gpu_files(["/nowhere"], "n1") is None


def test_a_short_form_stands_for_many_names_and_never_for_too_many() -> None:
    assert expanded("n[1-2,07],x,d[0-1]e") == ["n1", "n2", "n07", "x", "d0e", "d1e"]
    assert len(expanded("n[0-99999999999]")) == MOST_FILES
    assert expanded("n[-],[,m[a-b],p[²]") == []


def test_a_device_file_has_the_number_of_the_driver_or_of_its_name(tmp_path: Path) -> None:
    assert device_number("/dev/nvidia7") == 7
    assert device_number("/dev/dri/renderD128") == 128
    assert device_number("/dev/null") is None
    if os.geteuid() == 0:
        os.mknod(tmp_path / "nvidia5", 0o020600, os.makedev(195, 2))
        assert device_number(str(tmp_path / "nvidia5")) == 2
