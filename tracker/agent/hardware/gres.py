"""How Slurm counts the GPUs of a node, as its gres.conf tells."""

from __future__ import annotations

import os
import re
import stat
from itertools import islice
from typing import Iterable, Iterator, Sequence

MOST_FILES = 1024
_MOST_NODES = 1_000_000  # of one line
_NVIDIA_MAJOR = 195  # Documentation/admin-guide/devices.txt of the kernel
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?\Z")
_SETTING = re.compile(r"(\w+)\s*=\s*([^\s,]*(?:\[[^\]]*\])?(?:,[^\s=]+(?:\[[^\]]*\])?)*)")


def gpu_files(folders: Iterable[str], node: str) -> list[list[str]] | None:
    """Return the device files of each GPU of this node in the order in which Slurm counts them; None: as on the bus.

    `folders` may hold gres.conf, the first one counts. A GPU's index is its place among `Name=gpu File=...` of all
    lines for the node, as they are written; `MultipleFiles` are those of one part of a GPU. Devices that Slurm finds
    itself (AutoDetect) stand in the order of the PCI bus (gres.conf(5), and gres_gpu.c of Slurm 24.11).
    """
    for folder in folders:
        try:
            with open(f"{folder}/gres.conf", encoding="utf-8", errors="replace") as file:
                text = file.read(1024 * 1024)
        except OSError:
            continue
        found: list[list[str]] = []
        for line in _lines(text):
            said = {key.lower(): value for key, value in _SETTING.findall(line)}
            if "nodename" in said and node not in islice(_expanded(said["nodename"]), _MOST_NODES):
                continue
            if said.get("autodetect", "off").lower() != "off":
                return None
            if said.get("name", "").lower() != "gpu":
                continue
            if said.get("multiplefiles"):
                found.append(expanded(said["multiplefiles"]))
            found += [[one] for one in expanded(said.get("file", ""))]
        return found[:MOST_FILES] or None
    return None


def device_number(path: str) -> int | None:
    """Return the number of a device file: that of the driver, or where it is another kind of file that of its name."""
    try:
        status = os.stat(path)
    except OSError:
        status = None
    if status is not None and stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _NVIDIA_MAJOR:
        return os.minor(status.st_rdev)
    digits = re.search(r"([0-9]{1,6})\Z", path)
    return int(digits.group(1)) if digits else None


def expanded(names: str) -> list[str]:
    """Return the names that stand for Slurm's short form, `n[1-2,07],x`; MOST_FILES at most."""
    return list(islice(_expanded(names), MOST_FILES))


def _expanded(names: str) -> Iterator[str]:
    for one in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", names):
        head, bracket, rest = one.partition("[")
        inside, _, tail = rest.partition("]")
        if not bracket:
            yield one
            continue
        for part in inside.split(","):
            numbers = _RANGE.match(part)
            first, last = numbers.groups() if numbers else ("1", "0")
            for number in range(int(first), int(last or first) + 1):
                for end in _expanded(tail) if tail else ("",):
                    yield f"{head}{number:0{len(first)}}{end}"


def _lines(text: str) -> Sequence[str]:
    """The lines without comments; one that ends with a backslash goes on in the next one."""
    return re.sub(r"#.*", "", text.replace("\\\n", " ")).splitlines()
