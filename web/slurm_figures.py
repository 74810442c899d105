"""What watching costs Slurm, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from tracker.store.tables import Cluster

_FIGURES: tuple[tuple[type[CounterMetricFamily | GaugeMetricFamily], str, str, str], ...] = (
    (CounterMetricFamily, "tracker_slurm_questions", "asked", "Questions to Slurm since its watcher began."),
    (CounterMetricFamily, "tracker_slurm_questions_failed", "failed", "Questions that Slurm did not answer."),
    (GaugeMetricFamily, "tracker_slurm_questions_last_hour", "last_hour", "Questions to Slurm within the last hour."),
    (GaugeMetricFamily, "tracker_slurm_question_seconds", "last_s", "How long the last question took."),
)


def figures(clusters: Iterable[Cluster]) -> Iterator[Metric]:
    """The figures by cluster, source and kind of question."""
    found = list(clusters)
    for family, name, key, words in _FIGURES:
        one = family(name, words, labels=("cluster", "source", "question"))
        for cluster in found:
            for question, counts in sorted(cluster.questions.items()):
                one.add_metric((cluster.name, cluster.source or "", question), counts.get(key, 0))
        yield one
