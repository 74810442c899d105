"""The stand-in for a run where nothing is logged: `TRACKER_MODE=off`, or no folder can be written."""

from __future__ import annotations

from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Mapping


class NoRun:
    """Takes every call and keeps nothing."""

    cluster: str | None = None
    job_id: int | None = None
    id: str | None = None
    attempt: int | None = None
    spool: str | None = None
    last_step: int | None = None

    def describe(self, experiment: str | None, name: str | None) -> None:
        """Keep nothing."""

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Keep nothing."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def tell(self, event: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def note(self, key: str, reason: str) -> None:
        """Keep nothing."""

    def log_artifact(self, path: Any, name: str | None = None, copy: bool = False, step: int | None = None) -> None:
        """Keep nothing."""

    def log_image(self, name: str, image: Any, step: int | None = None) -> None:
        """Keep nothing."""

    def log_figure(self, name: str, figure: Any, step: int | None = None) -> None:
        """Keep nothing."""

    def log_histogram(self, name: str, values: Any, step: int | None = None, bins: int = 64) -> None:
        """Keep nothing."""

    def log_table(self, name: str, columns: Any, rows: Any = None, step: int | None = None) -> None:
        """Keep nothing."""

    def finish(self, exit_code: int = 0, reason: str | None = None) -> None:
        """Keep nothing."""
