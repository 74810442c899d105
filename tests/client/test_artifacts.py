"""Artifacts: told of where they lie; a copy is whole or not there, kept once, and goes on where it was broken off."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import Scripts

MIB = 1024 * 1024


def artifacts(scripts: Scripts) -> list[dict[str, Any]]:
    """The artifacts told, each as its last line says."""
    lines = [one for one in scripts.messages() if one.get("event") == "artifact"]
    return list({one["id"]: one for one in lines}.values())


def notes(scripts: Scripts) -> dict[str, str]:
    return {one["key"]: one["reason"] for one in scripts.messages() if one.get("event") == "note"}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def objects(store: Path) -> dict[str, Path]:
    """What a store keeps, by digest."""
    return {f"{one.parent.name}{one.name}": one for one in store.glob("sha256/*/*")}


def large_file(path: Path, size_mib: int = 20) -> str:
    """A file that is copied in many pieces; its digest."""
    block = os.urandom(MIB)
    path.write_bytes(b"".join(number.to_bytes(8, "big") + block[8:] for number in range(size_mib)))
    return sha256(path)


AFTER_TEN_WRITES = """
    import os, signal
    written, pwrite = [], os.pwrite
    def counting(fd, data, at):
        written.append(len(data))
        if len(written) == 11: {then}
        return pwrite(fd, data, at)
    os.pwrite = counting
    tracker.log_artifact('model.pt', copy=True)
    print(sum(written))
"""
DIES = AFTER_TEN_WRITES.format(then="os.kill(os.getpid(), signal.SIGKILL)")
STOPS = AFTER_TEN_WRITES.format(then="print('ten written', flush=True); signal.pause()")
COUNTS = AFTER_TEN_WRITES.format(then="pass")
WAITS = """
    from tracker.client import copies
    sleep = copies.time.sleep
    def telling(seconds):
        print("waits", flush=True)
        sleep(seconds)
    copies.time.sleep = telling
    tracker.log_artifact('model.pt', copy=True)
"""


def test_a_file_is_told_of_where_it_lies(scripts: Scripts) -> None:
    model = scripts.home / "model.pt"
    model.write_bytes(b"weights")
    os.utime(model, (1.7e9, 1.7e9))
    done = scripts.run("tracker.log({'a': 1}, step=4); tracker.log_artifact('model.pt')")
    assert done.stderr == ""
    (told,) = artifacts(scripts)
    assert (told["name"], told["path"], told["size_bytes"], told["mtime"]) == ("model.pt", str(model), 7, 1.7e9)
    assert (told["sha256"], told["step"]) == (sha256(model), 4)
    assert "copied_to" not in told
    assert not (scripts.home / "t" / "artifacts").exists()


def test_a_link_is_told_of_as_what_it_points_to_now(scripts: Scripts) -> None:
    (scripts.home / "step10.pt").write_bytes(b"weights")
    (scripts.home / "latest.pt").symlink_to("step10.pt")
    scripts.run("import pathlib; tracker.log_artifact(pathlib.Path('latest.pt'), name='best')")
    (told,) = artifacts(scripts)
    assert (told["name"], told["path"]) == ("best", str(scripts.home / "step10.pt"))


def test_a_folder_is_told_of_by_its_manifest_as_sha256sum_prints_it(scripts: Scripts) -> None:
    folder = scripts.home / "out"
    (folder / "deep").mkdir(parents=True)
    for name in ("b", "a", "deep/c", "new\nline", "back\\slash"):
        (folder / name).write_text(name)
    (folder / "link").symlink_to("a")
    os.mkfifo(folder / "fifo")
    scripts.run("tracker.log_artifact('out')")
    (told,) = artifacts(scripts)
    sums = "find -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum"
    manifest = subprocess.check_output(["bash", "-c", sums], cwd=folder)
    assert told["sha256"] == hashlib.sha256(manifest).hexdigest()
    assert told["file_count"] == 5
    assert {one["path"]: one["size_bytes"] for one in told["files"]}["deep/c"] == 6
    assert "2 links, devices and the like" in notes(scripts)["artifact out"]


def test_a_folder_of_many_files_with_long_names_fits_into_a_line(scripts: Scripts) -> None:
    long = "\u9f8d" * 80
    folder = scripts.home / "many" / long / long / long / long
    folder.mkdir(parents=True)
    for number in range(300):
        (folder / f"{long}{number}").touch()
    scripts.run("tracker.log_artifact('many')")
    (told,) = artifacts(scripts)
    assert told["file_count"] == 300
    assert 100 < len(told["files"]) <= 200


def test_the_digest_of_a_large_file_comes_from_the_background(scripts: Scripts) -> None:
    (scripts.home / "sparse").touch()
    os.truncate(scripts.home / "sparse", 1024 * MIB)
    scripts.run("""
        import pathlib, time
        tracker.log_artifact('sparse')
        (file,) = pathlib.Path(tracker.current_run().spool).iterdir()
        while f'"sha{256}":' not in file.read_text(): time.sleep(0.05)  # the script itself is in there, too
    """)
    first, *_ = [one for one in scripts.messages() if one.get("event") == "artifact"]
    assert "sha256" not in first
    (told,) = artifacts(scripts)
    assert told["size_bytes"] == 1024 * MIB
    assert told["sha256"] == "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14"


def test_other_work_goes_on_while_a_large_file_is_read(scripts: Scripts) -> None:
    (scripts.home / "sparse").touch()
    os.truncate(scripts.home / "sparse", 100 * 1024 * MIB)
    done = scripts.run("""
        import threading
        from tracker.client import worker
        tracker.log_artifact("sparse")
        done = threading.Event()
        worker.later(done.set, "other work")
        print(done.wait(30))
    """)
    assert done.stdout == "True\n"
    (told,) = artifacts(scripts)
    assert "sha256" not in told  # the process ended first, and was not held until it was read


def test_the_digest_of_what_is_logged_last_is_computed_while_the_process_ends(scripts: Scripts) -> None:
    (scripts.home / "final.pt").touch()
    os.truncate(scripts.home / "final.pt", 65 * MIB)
    scripts.run("tracker.log_artifact('final.pt')")
    (told,) = artifacts(scripts)
    assert told["sha256"] == sha256(scripts.home / "final.pt")


def test_what_changes_while_it_is_read_gets_no_digest(scripts: Scripts) -> None:
    (scripts.home / "growing").touch()
    scripts.run("""
        import os
        from tracker.client import artifacts
        whole, seen = artifacts._read, []
        def meanwhile(fd, length, at):  # another process writes between two reads
            if not seen: os.truncate("growing", 3_000_000)
            seen.append(at)
            return whole(fd, length, at)
        os.truncate("growing", 2_000_000)
        artifacts._read = meanwhile
        tracker.log_artifact("growing")
    """)
    (told,) = artifacts(scripts)
    assert "sha256" not in told
    assert "changed while it was read" in told["problem"]


@pytest.mark.parametrize("path", ["nowhere", "fifo", "/dev/null", "dangling", "loop"])
def test_what_is_no_file_is_a_note(scripts: Scripts, path: str) -> None:
    os.mkfifo(scripts.home / "fifo")
    (scripts.home / "dangling").symlink_to("nowhere")
    (scripts.home / "loop").symlink_to("loop")
    done = scripts.run(f"tracker.log_artifact({path!r}); tracker.log_artifact(None); print('goes on')")
    assert done.stdout == "goes on\n"
    assert artifacts(scripts) == []
    assert set(notes(scripts)) == {f"artifact {path}", "artifact None"}


def test_a_copy_is_there_when_the_call_returns_and_only_once(scripts: Scripts) -> None:
    (scripts.home / "a.pt").write_bytes(b"weights")
    (scripts.home / "b.pt").write_bytes(b"weights")
    scripts.run("""
        import os; os.umask(0)
        tracker.log_artifact("a.pt", copy=True); tracker.log_artifact("b.pt", copy=True)
        os._exit(9)
    """, exit_code=9)  # fmt: skip
    store = scripts.home / "t" / "artifacts"
    assert {told["copied_to"] for told in artifacts(scripts)} == {str(store)}
    ((digest, kept),) = objects(store).items()
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert kept.read_bytes() == b"weights"
    assert {path.stat().st_mode & 0o077 for path in store.rglob("*")} == {0}
    assert list((store / "partial").iterdir()) == []


def test_a_folder_can_be_had_again_from_the_store(scripts: Scripts) -> None:
    (scripts.home / "out" / "deep").mkdir(parents=True)
    (scripts.home / "out" / "a").write_text("a")
    (scripts.home / "out" / "deep" / "b").write_text("b")
    scripts.run("tracker.log_artifact('out', copy=True)", TRACKER_ARTIFACTS=str(scripts.home / "store"))
    (told,) = artifacts(scripts)
    kept = objects(scripts.home / "store")
    manifest = kept[told["sha256"]].read_text().splitlines()
    assert {name: kept[digest].read_text() for digest, name in (line.split("  ") for line in manifest)} == {
        "a": "a", "deep/b": "b",
    }  # fmt: skip


def test_a_copy_that_was_killed_goes_on_where_it_was(scripts: Scripts) -> None:
    digest = large_file(scripts.home / "model.pt")
    store = scripts.home / "t" / "artifacts"
    scripts.run(DIES, exit_code=-signal.SIGKILL)
    held = (store / "partial" / digest).stat()
    assert held.st_size == 10 * MIB
    assert objects(store) == {}
    done = scripts.run(COUNTS)
    assert int(done.stdout) == 10 * MIB
    assert objects(store)[digest].stat().st_ino == held.st_ino
    assert sha256(objects(store)[digest]) == digest
    assert list((store / "partial").iterdir()) == []


def test_a_broken_off_copy_that_was_spoilt_is_begun_anew(scripts: Scripts) -> None:
    (scripts.home / "model.pt").write_bytes(b"x" * 3 * MIB)
    digest = sha256(scripts.home / "model.pt")
    partial = scripts.home / "t" / "artifacts" / "partial"
    partial.mkdir(parents=True)
    (partial / digest).write_bytes(bytes(2 * MIB))  # as a crash of the machine leaves it
    scripts.run("tracker.log_artifact('model.pt', copy=True)")
    assert sha256(objects(partial.parent)[digest]) == digest


def test_two_that_copy_the_same_file_at_once_keep_it_once(scripts: Scripts) -> None:
    digest = large_file(scripts.home / "model.pt", 200)
    both = [scripts.start("tracker.log_artifact('model.pt', copy=True)") for _ in range(2)]
    for one in both:
        assert one.communicate(timeout=60)[1] == ""
    store = scripts.home / "t" / "artifacts"
    assert [sha256(path) for path in objects(store).values()] == [digest]
    assert list((store / "partial").iterdir()) == []
    for folder in scripts.folders():
        (told,) = [one for one in scripts.messages(folder) if one.get("event") == "artifact"]
        assert told["copied_to"] == str(store)


def test_one_that_waits_takes_over_from_one_that_dies(scripts: Scripts) -> None:
    digest = large_file(scripts.home / "model.pt")
    first = scripts.start(STOPS)
    assert first.stdout is not None
    assert first.stdout.readline() == "ten written\n"
    second = scripts.start(WAITS)
    assert second.stdout is not None
    assert second.stdout.readline() == "waits\n"
    first.kill()
    first.communicate()
    assert second.communicate(timeout=60)[1] == ""
    assert sha256(objects(scripts.home / "t" / "artifacts")[digest]) == digest


def test_a_full_disk_leaves_nothing_broken_and_the_artifact_is_told_of(scripts: Scripts, small_disk: Path) -> None:
    (scripts.home / "model.pt").write_bytes(os.urandom(200_000))
    scripts.run("tracker.log_artifact('model.pt', copy=True)", TRACKER_ARTIFACTS=str(small_disk / "store"))
    assert [path for path in (small_disk / "store").rglob("*") if path.is_file()] == []
    (told,) = artifacts(scripts)
    assert told["sha256"] == sha256(scripts.home / "model.pt")
    assert "copied_to" not in told
    assert "No space left" in notes(scripts)["copy of model.pt"]


@pytest.mark.parametrize(
    ("store", "reason"),
    [("relative/folder", "from / on"), ("/proc/nothing", "takes no copy"), ("/dev/null/x", "takes no copy")],
)
def test_a_store_that_cannot_be_used_is_a_note(scripts: Scripts, store: str, reason: str) -> None:
    (scripts.home / "model.pt").write_bytes(b"weights")
    scripts.run("tracker.log_artifact('model.pt', copy=True)", TRACKER_ARTIFACTS=store)
    assert reason in notes(scripts)["copy of model.pt"]
    (told,) = artifacts(scripts)
    assert told["sha256"] == sha256(scripts.home / "model.pt")
