"""The pages. Each is rendered here and useful before a script runs; scripts only keep it fresh."""

from __future__ import annotations

from flask import Flask

from tracker.actions.correct_times import behind_or_ahead
from tracker.actions.explain import explain
from tracker.quantities import byte_size, duration
from tracker.store import clusters
from web import text
from web.pages import captures, cluster, experiments, gpus, home, run, runs, words

_FILTERS = (
    captures.command_line, captures.diff_lines,
    text.shorten, text.coloured, words.anchor, byte_size, duration, words.exact, explain,
    words.figure, words.gpu_types, words.host_gpus, words.iso, words.job, words.key_metrics, words.mark, words.mean,
    words.moment, words.nth, words.number, words.size, words.spent, words.state_word, words.title,
)  # fmt: skip


def install(app: Flask) -> None:
    """Put the pages into the application."""
    app.jinja_env.filters.update(
        {word.__name__: word for word in _FILTERS}, is_watched=clusters.is_watched, behind_or_ahead=behind_or_ahead
    )
    for page in (home.home, runs.runs, run.run, captures.captures, experiments.experiments, cluster.cluster, gpus.gpus):
        app.register_blueprint(page)
