"""Where a process writes, and when other hosts see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.conftest import JOB, Scripts
from tracker.client.spool import is_on_network

MOUNTS = r"""22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:30 / /home rw,relatime shared:1 - nfs4 server:/home rw
31 30 0:31 / /home/alice/my\040disk rw - xfs /dev/sdb rw
32 22 0:32 / /scratch rw - lustre 10.0.0.1@tcp:/fs rw
33 22 0:33 / /local rw - ext4 /dev/sdc rw
34 22 0:34 / /local rw - nfs server:/local rw
"""


@pytest.mark.parametrize(
    ("folder", "is_shared"),
    [
        ("/var/spool/tracker/jobs/dev.12", False),
        ("/home/alice/.local/share", True),
        ("/home/alice/my disk/x", False),
        ("/homes", False),
        ("/scratch/x", True),
        ("/local/x", True),
    ],
)
def test_file_systems_that_other_hosts_see_are_known_by_their_mounts(
    tmp_path: Path, folder: str, is_shared: bool
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert is_on_network(folder, str(tmp_path / "mounts")) is is_shared


COUNT = """
    import os, time
    real, calls = os.fsync, []
    os.fsync = lambda fd: (calls.append(time.monotonic()), real(fd))
    from tracker.client import writer
    writer._FLUSH_EVERY_S = 0.05
    writer.is_on_network = lambda folder: {shared}
    tracker.log({{"loss": 1}})
    until_s = time.monotonic() + (20 if {shared} else 0.3)
    while not calls and time.monotonic() < until_s: time.sleep(0.01)
    flushed = len(calls)
    time.sleep(0.3)
    print(flushed, len(calls), len(os.listdir("/proc/self/task")))
"""


def test_there_new_lines_are_flushed_by_one_thread_and_nothing_else_is(scripts: Scripts) -> None:
    off = {**JOB, "TRACKER_CAPTURE": "off"}
    assert scripts.run(COUNT.format(shared=True), **off).stdout.split() == ["1", "1", "2"]
    assert scripts.run(COUNT.format(shared=False), **off).stdout.split() == ["0", "0", "1"]
