"""A job cannot fill the node's disk: what is above the limit is dropped, counted and told."""

from __future__ import annotations

import pytest

from tests.client.conftest import JOB, Scripts
from tracker.client import room
from tracker.settings import Settings

FILL = """
    for step in range(20_000): tracker.log({"loss": step}, step=step)
"""


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("", 1024**3),
        ("512MB", 512 * 1024**2),
        ("10", 10),
        ("2 GiB", 2 * 1024**3),
        ("1k", 1024),
        ("lots", 1024**3),
        (Settings().spool_limit, 1024**3),
    ],
)
def test_the_limit_is_said_in_words_of_people(said: str, limit: int) -> None:
    assert room.limit_bytes({"TRACKER_SPOOL_LIMIT": said}) == limit


def test_above_the_limit_lines_are_dropped_and_counted(scripts: Scripts) -> None:
    done = scripts.run(FILL, **JOB, TRACKER_SPOOL_LIMIT="256 KiB", TRACKER_CAPTURE="off")
    assert done.stderr.count("\n") == 1
    assert "above the limit of 256 KiB" in done.stderr
    steps = [step for step, _ in scripts.points()]
    assert steps == list(range(len(steps)))  # below the limit everything, once
    *_, note, finish = scripts.messages()
    assert (note["event"], finish["event"]) == ("note", "finish")
    assert note["reason"].startswith(f"{20_000 - len(steps)} lines were above the limit")
    assert 200 * 1024 < sum(file.stat().st_size for file in scripts.folders()[0].iterdir()) < 1024 * 1024


def test_the_limit_is_that_of_all_processes_together(scripts: Scripts) -> None:
    ranks = [
        scripts.start(FILL, **{**JOB, "SLURM_PROCID": str(rank), "TRACKER_CAPTURE": "off"}, TRACKER_SPOOL_LIMIT="1MB")
        for rank in range(4)
    ]
    for rank in ranks:
        rank.communicate()
    assert [rank.returncode for rank in ranks] == [0] * 4
    # A writer tells again of all it dropped, the longer it takes the more often.
    told = {one["key"]: int(one["reason"].split()[0]) for one in scripts.messages() if one.get("event") == "note"}
    assert len(scripts.points()) + sum(told.values()) == 4 * 20_000
    assert sum(file.stat().st_size for file in scripts.folders()[0].iterdir()) < 2 * 1024 * 1024


def test_when_there_is_room_again_logging_goes_on(scripts: Scripts) -> None:
    scripts.run(
        """
        import os
        from tracker.client import worker
        run = tracker.current_run()
        big = f"{run.spool}/other.jsonl"
        with open(big, "wb") as file: file.truncate(2**20)
        for step in range(5000): tracker.log({"loss": 1}, step=step)
        worker.drain()
        assert run._writer.room.is_full
        os.unlink(big)
        run._writer._full_look_at_s = run._writer.look_at_s = 0  # a minute later
        tracker.log({"loss": 1}, step=5000)
        worker.drain()
        tracker.log({"loss": 1}, step=5001)
        """,
        **JOB,
        TRACKER_SPOOL_LIMIT="1MB",
    )
    assert scripts.points()[-1][0] == 5001


def test_the_shell_is_told_too(scripts: Scripts) -> None:
    folder = scripts.home / "t/spool/jobs/dev.12"
    folder.mkdir(parents=True)
    (folder / "other.jsonl").write_bytes(bytes(2000))
    code = (
        "import os, sys; sys.exit(os.spawnl(os.P_WAIT, sys.executable, 'tracker', '-m', 'tracker.client.shell', 'a=1'))"
    )
    done = scripts.run(code, exit_code=1, **JOB, TRACKER_SPOOL_LIMIT="1k")
    assert "limit of 1 KiB" in done.stderr
