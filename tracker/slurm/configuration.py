"""What `scontrol show config` says that matters to a watcher."""

from __future__ import annotations

import re

from tracker.errors import SlurmUnavailable
from tracker.slurm.records import ClusterFacts
from tracker.slurm.values import given, moment


def parse_configuration(answer: str) -> ClusterFacts:
    """Understand scontrol's answer. Raises SlurmUnavailable when it names no cluster."""
    pairs = (line.partition("=") for line in answer.splitlines())
    said = {re.sub(r"\[\d+\]$", "", key.strip()): value.strip() for key, _, value in pairs}
    if not given(said.get("ClusterName", "")):
        raise SlurmUnavailable("`scontrol show config` names no cluster.")
    told = re.match(r"Configuration data as of (\d+)", answer)
    return ClusterFacts(
        name=said["ClusterName"],
        slurm_version=said.get("SLURM_VERSION", ""),
        has_accounting=_has_accounting(said.get("AccountingStorageType")),
        has_prolog=given(said.get("Prolog", "")) is not None,
        has_epilog=given(said.get("Epilog", "")) is not None,
        told_at=moment(told[1]) if told else None,
    )


def _has_accounting(kind: str | None) -> bool | None:
    """Whether there is slurmdbd; only a configuration that says `none` tells that there is not."""
    if kind is None:
        return None
    return False if given(kind) is None or kind.endswith("/none") else kind.endswith("/slurmdbd") or None
