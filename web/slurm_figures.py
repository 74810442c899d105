"""What watching costs Slurm, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from tracker.store.tables import Cluster

_FIGURES = (
    ("tracker_slurm_questions_total", "counter", "asked", "Questions to Slurm since its watcher began."),
    ("tracker_slurm_questions_failed_total", "counter", "failed", "Questions that Slurm did not answer."),
    ("tracker_slurm_questions_last_hour", "gauge", "last_hour", "Questions to Slurm within the last hour."),
    ("tracker_slurm_question_seconds", "gauge", "last_s", "How long the last question took."),
)


def text(clusters: Iterable[Cluster]) -> list[str]:
    """Lines in Prometheus' text format, by cluster, source and kind of question."""
    found = list(clusters)
    lines = []
    for name, kind, key, words in _FIGURES:
        lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
        for cluster in found:
            labels = f'cluster="{_quoted(cluster.name)}",source="{_quoted(cluster.source or "")}"'
            lines += [
                f'{name}{{{labels},question="{_quoted(question)}"}} {figures.get(key, 0):g}'
                for question, figures in sorted(cluster.questions.items())
            ]
    return lines


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
