"""Files that administrators copy say what the program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracker import settings


def test_the_sample_has_every_setting_at_its_default() -> None:
    assert (ROOT / "config" / "tracker.toml").read_text() == settings.sample()


def test_the_sample_without_its_comment_signs_is_valid(tmp_path: Path) -> None:
    lines = settings.sample().splitlines()
    given = [line[2:] for line in lines if line.startswith("# ") and " = " in line]
    path = tmp_path / "tracker.toml"
    path.write_text("\n".join(given))
    assert settings.load({}, files=(path,)) == settings.Settings()


def test_an_unknown_setting_is_told_with_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "tracker.toml"
    path.write_text("prot = 1")
    with pytest.raises(settings.BadInput, match=r"has a setting `prot`; there can be: .* port,"):
        settings.load({}, files=(path,))


def test_the_environment_wins_over_files_and_options_over_both(tmp_path: Path) -> None:
    path = tmp_path / "tracker.toml"
    path.write_text("port = 1\nlisten = '::1'")
    assert settings.load({"TRACKER_PORT": "2"}, files=(path,)).port == 2
    loaded = settings.load({"TRACKER_PORT": "2"}, files=(path,), port=3)
    assert (loaded.port, loaded.listen) == (3, "::1")


def test_a_setting_beyond_its_limits_is_told(tmp_path: Path) -> None:
    for given, told in (("-1", "at least 0"), ("36501", "at most 36500"), ("x", "must be int")):
        with pytest.raises(settings.BadInput, match=f"`purge_deleted_after_days` .*{told}"):
            settings.load({"TRACKER_PURGE_DELETED_AFTER_DAYS": given}, files=())
