"""`tracker hooks`: install, check, uninstall, as an administrator runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracker.cli import hook_files
from tracker.errors import SetupProblem

NOBODY = 65534


class Admin:
    """An administrator with a place for hooks, a spool, and a slurm.conf."""

    def __init__(self, folder: Path) -> None:
        self.directory, self.spool, self.slurm_conf = folder / "etc", folder / "spool", folder / "slurm.conf"
        self.slurm_conf.write_text("ClusterName=dev\n")

    def hooks(self, *arguments: object, exit_code: int = 0) -> str:
        """Run `tracker hooks` and return what it printed; on failure, the sentence."""
        done = subprocess.run(
            [sys.executable, "-m", "tracker", "hooks", *map(str, arguments), "--directory", self.directory],
            env={**os.environ, "SLURM_CONF": str(self.slurm_conf), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == exit_code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if exit_code and not done.stdout else done.stdout

    def install(self, *arguments: object) -> str:
        return self.hooks("install", "--spool", self.spool, *arguments)

    def configure(self, *lines: str) -> None:
        self.slurm_conf.write_text("\n".join(["ClusterName=dev", *lines, ""]))

    def configure_ours(self) -> None:
        scripts = (("Prolog", "prolog.sh"), ("Epilog", "epilog.sh"), ("TaskProlog", "task_prolog.sh"))
        self.configure(*(f"{option}={self.directory}/{script}" for option, script in scripts))


@pytest.fixture
def admin() -> Iterator[Admin]:
    folder = Path(tempfile.mkdtemp(prefix="tracker-admin-"))
    folder.chmod(0o755)
    yield Admin(folder)
    shutil.rmtree(folder)


def test_installed_hooks_pass_their_check(admin: Admin) -> None:
    printed = admin.install()
    assert f"Prolog={admin.directory}/prolog.sh" in printed
    assert "PrologFlags=Alloc" in printed
    admin.configure_ours()
    findings = json.loads(admin.hooks("check", "--json"))
    assert [finding for finding in findings if not finding["ok"]] == []
    assert {"run Prolog", "run TaskProlog", "run Epilog", "slurm.conf", "spool"} <= {one["name"] for one in findings}
    assert list((admin.spool / "events").iterdir()) == list((admin.spool / "jobs").iterdir()) == []


def test_the_lines_to_add_are_those_of_the_snippet_and_of_the_file_asked_for(admin: Admin) -> None:
    admin.install("--conf", admin.directory.parent / "hooks.snippet")
    written = _settings(admin.directory.parent / "hooks.snippet")
    shipped = _settings(ROOT / "config" / "slurm.conf.snippet")
    assert [line.replace(str(admin.directory), "/etc/slurm/tracker") for line in written] == shipped


def _settings(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


def test_installing_again_repairs_what_was_broken(admin: Admin) -> None:
    admin.install()
    admin.configure_ours()
    (admin.directory / "prolog.sh").write_text("#!/bin/sh\nexit 0\n")
    (admin.directory / "common.sh").chmod(0o600)
    assert "NOT  common.sh" in admin.hooks("check", exit_code=1)
    admin.install()
    admin.hooks("check")


@pytest.mark.parametrize("file", ["prolog.sh", "epilog.sh", "task_prolog.sh", "common.sh", "hooks.conf"])
def test_check_finds_a_missing_file_and_one_that_others_may_change(admin: Admin, file: str) -> None:
    admin.install()
    admin.configure_ours()
    (admin.directory / file).chmod(0o777)
    assert f"NOT  {file}" in admin.hooks("check", exit_code=1)
    (admin.directory / file).unlink()
    assert f"NOT  {file}" in admin.hooks("check", exit_code=1)


def test_check_finds_a_missing_spool_and_a_forgotten_line(admin: Admin) -> None:
    admin.install()
    admin.configure(f"Prolog={admin.directory}/prolog.sh")
    shutil.rmtree(admin.spool)
    printed = admin.hooks("check", exit_code=1)
    assert "NOT  spool" in printed
    assert f"lacks the line Epilog={admin.directory}/epilog.sh" in printed


def test_other_hooks_are_left_alone_and_chaining_is_explained(admin: Admin) -> None:
    (admin.directory.parent / "site.conf").write_text("prolog = /opt/site/prolog  # ours\n")
    admin.configure("Include site.conf")
    printed = admin.install()
    assert "Prolog=/opt/site/prolog already" in printed
    assert str(admin.directory / "prolog.sh") in printed
    assert admin.slurm_conf.read_text() == "ClusterName=dev\nInclude site.conf\n"


def test_a_dry_run_makes_nothing(admin: Admin) -> None:
    assert "would install" in admin.install("--dry-run", "--conf", admin.directory.parent / "x.conf")
    assert sorted(path.name for path in admin.directory.parent.iterdir()) == ["slurm.conf"]


def test_uninstalling_leaves_scripts_that_do_nothing_until_slurm_forgets_them(admin: Admin) -> None:
    admin.install()
    admin.configure_ours()
    assert "remove" in admin.hooks("uninstall", "--purge", exit_code=1).lower()
    admin.hooks("uninstall")
    for script in ("prolog.sh", "epilog.sh", "task_prolog.sh"):
        subprocess.run([admin.directory / script], check=True)
    assert "does nothing" in admin.hooks("check", exit_code=1)
    admin.hooks("uninstall", "--purge", exit_code=1)
    admin.configure()
    admin.hooks("uninstall", "--purge")
    assert not admin.directory.exists()
    assert admin.spool.is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["install", "--spool", "relative"], "absolute path"),
        (["install", "--spool", "/spool\nx=1"], "control characters"),
        (["install", "--spool", "/spool/%h"], "only one %n"),
        (["install", "--conf", "/etc/slurm/slurm.conf"], "never written"),
        (["install", "--conf", "/nowhere/at/all.conf"], "/nowhere/at"),
        (["uninstall"], "no hooks in"),
        (["uninstall", "--purge"], "no hooks in"),
    ],
)
def test_bad_input_gets_one_sentence_and_nothing_half_made(admin: Admin, arguments: list[str], said: str) -> None:
    spool = ["--spool", admin.spool] if "--conf" in arguments else []
    problem = admin.hooks(*arguments, *spool, exit_code=1)
    assert said in problem
    assert len(problem.splitlines()) == 1
    assert sorted(path.name for path in admin.directory.parent.iterdir()) == ["slurm.conf"]


def test_a_user_is_told_that_it_needs_root(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(SetupProblem, match="sudo"):
        hook_files.install(admin.directory, str(admin.spool))
    assert not admin.directory.exists()


def test_a_place_that_slurm_conf_cannot_name_is_refused(admin: Admin) -> None:
    admin.directory = admin.directory.parent / "with space"
    assert "cannot stand in slurm.conf" in admin.hooks("install", "--spool", admin.spool, exit_code=1)


def test_a_folder_that_others_may_change_is_refused(admin: Admin) -> None:
    admin.directory.mkdir()
    admin.directory.chmod(0o777)
    assert "chmod go-w" in admin.hooks("install", "--spool", admin.spool, exit_code=1)
