"""How Slurm counts the GPUs of a node, as its gres.conf tells."""

from __future__ import annotations

import re
from typing import Iterable

_LINES = re.IGNORECASE | re.MULTILINE


def gpus_by_file(folders: Iterable[str]) -> bool:
    """Say whether Slurm counts GPUs in the order of device files; else it is that of the PCI bus.

    `folders` may hold gres.conf, the first one counts. Slurm gives a device the index of its place among the files of
    `Name=gpu File=...`; devices that it finds itself (AutoDetect) stand in the order of the PCI bus, which need not be
    the same (gres.conf(5), and src/plugins/gres/common/gres_common.c of Slurm 24.11).
    """
    for folder in folders:
        try:
            with open(f"{folder}/gres.conf", encoding="utf-8", errors="replace") as file:
                text = re.sub(r"#.*", "", file.read())
        except OSError:
            continue
        detected = re.search(r"\bAutoDetect\s*=\s*(?!off\b)\w+", text, _LINES)
        named = re.search(r"^.*\bName\s*=\s*gpu\b.*\bFile\s*=", text, _LINES)
        return bool(named) and not detected
    return False
