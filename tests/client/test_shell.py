"""`tracker log`, for shell scripts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.client.conftest import JOB, Scripts


def shell(scripts: Scripts, script: str, exit_code: int = 0, **env: str) -> str:
    """Run a shell script in which `log` is `tracker log`; return what it said on stderr."""
    command = f'log() {{ "{sys.executable}" -m tracker.client.shell "$@"; }}\n{script}'
    done = subprocess.run(
        ["sh", "-c", command], env={**scripts.env, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_code, done.stderr
    return done.stderr


def test_a_loop_in_a_shell_makes_one_file_whose_steps_count_on(scripts: Scripts) -> None:
    shell(scripts, "for i in 1 2 3; do log loss=0.$i; done; log loss=nan acc=1 --step 10", **JOB)
    assert scripts.points() == [(None, {"loss": i / 10}) for i in (1, 2, 3)] + [(10, {"loss": "NaN", "acc": 1})]
    assert len(list(scripts.folders()[0].iterdir())) == 1


def test_parameters_and_tags(scripts: Scripts) -> None:
    shell(scripts, "log --params lr=0.1 opt=a=b; log --tags stage='two words'", **JOB)
    assert scripts.event("params")["params"] == {"lr": "0.1", "opt": "a=b"}
    assert scripts.event("tags")["tags"] == {"stage": "two words"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("loss=abc", "'abc' is no number"),
        ("loss", "is not NAME=VALUE"),
        ("=1", "is not NAME=VALUE"),
        ("--params a=b --step 1", "--step belongs to numbers"),
        ("loss=1 --step one", "--step"),
        ("", "required"),
    ],
)
def test_bad_input_is_told_in_a_sentence(scripts: Scripts, arguments: str, said: str) -> None:
    assert said in shell(scripts, f"log {arguments}", exit_code=2, **JOB)
    assert scripts.folders() == []


def test_outside_any_run_it_says_what_to_do(scripts: Scripts) -> None:
    assert "TRACKER_SPOOL" in shell(scripts, "log loss=1", exit_code=2)


def test_a_spool_that_cannot_be_written_is_told(scripts: Scripts) -> None:
    (scripts.home / "file").write_text("")
    said = shell(scripts, "log loss=1", exit_code=1, **JOB, TRACKER_HOME=str(scripts.home / "file"))
    assert "nothing was logged" in said


def test_a_line_torn_by_a_full_disk_does_not_spoil_the_next(scripts: Scripts) -> None:
    torn = """for f in "$TRACKER_HOME"/spool/jobs/dev.12/*; do printf '{"metr' >>"$f"; done"""
    shell(scripts, f"log a=1; {torn}; log a=2", **JOB)
    (file,) = scripts.folders()[0].iterdir()
    assert [line[:9] for line in file.read_text().splitlines()[1:]] == ['{"metrics', '{"metr', '{"metrics']


def test_switched_off_it_writes_nothing(scripts: Scripts) -> None:
    shell(scripts, "log loss=1", **JOB, TRACKER_MODE="off")
    assert scripts.folders() == []


def test_the_example_of_the_documentation_works(scripts: Scripts) -> None:
    folder = scripts.home / "t/spool/jobs/dev.12"
    folder.mkdir(parents=True)
    line = """echo '{"metrics":{"loss":0.31},"step":10}' >> "$TRACKER_SPOOL/my-script.jsonl\""""
    shell(scripts, line, TRACKER_SPOOL=str(folder))
    assert scripts.points() == [(10, {"loss": 0.31})]
