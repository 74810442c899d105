"""What git knows, read from its files: the same that git itself says."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracker.client import git
from tracker.client.git import changes, objects
from tracker.client.pace import Pace


class Checkout:
    """A repository with a history, and git to ask about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *words: str, stdin: bytes | None = None) -> str:
        who = ["-c", "user.name=alice", "-c", "user.email=a@example.org", "-c", "core.excludesFile="]
        done = subprocess.run(["git", *who, *words], cwd=self.folder, capture_output=True, input=stdin, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8", "surrogateescape")

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def commit(self, message: str = "more") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def captured(self, work_s: float = 60, **more: Any) -> dict[str, Any]:
        told = git.describe([str(self.folder)], Pace(work_s), **more)
        assert told is not None
        return told

    def tree(self) -> str:
        """The tree that all tracked files, as they are on disk, make."""
        index = self.folder / ".git" / "try-index"
        env = {**os.environ, "GIT_INDEX_FILE": str(index)}
        source = self.folder / ".git" / "index"
        shutil.copy(source, index)
        subprocess.run(["git", "add", "-u"], cwd=self.folder, env=env, check=True)
        said = subprocess.run(["git", "write-tree"], cwd=self.folder, env=env, check=True, capture_output=True)
        index.unlink()
        return said.stdout.decode().strip()

    def rebuilt(self, told: dict[str, Any], clone: Path) -> str:
        """The tree that a clean checkout of the captured commit becomes by the captured diff."""
        subprocess.run(["git", "clone", "-q", "--no-checkout", self.folder, clone], check=True)
        other = Checkout(clone)
        other.git("checkout", "-q", told["commit"])
        if told.get("diff"):
            other.git("apply", "--index", "-", stdin=told["diff"].encode())
        return other.tree()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path / "checkout")
    checkout.folder.mkdir()
    checkout.git("init", "-q", "-b", "main", "--template=")
    checkout.write("train.py", "".join(f"line {n}\n" for n in range(100)))
    checkout.write("model/net.py", "import torch\n\n\nclass Net:\n    pass\n")
    checkout.write("model/deep/er.txt", "deep\n")
    checkout.write("README", "no newline at the end")
    checkout.commit("first")
    yield checkout


def test_a_clean_checkout_is_told_by_branch_commit_and_remote(checkout: Checkout) -> None:
    checkout.git("remote", "add", "origin", "https://alice:s3cret@example.org/lab/digits.git")
    told = checkout.captured()
    commit = checkout.git("rev-parse", "HEAD").strip()
    assert told == {
        "root": str(checkout.folder), "branch": "main", "commit": commit, "dirty": False,
        "remote": "https://[redacted]@example.org/lab/digits.git",
    }  # fmt: skip


def test_it_is_found_from_a_folder_within(checkout: Checkout) -> None:
    told = git.describe(["/", str(checkout.folder / "model" / "deep")], Pace(60))
    assert told is not None
    assert told["root"] == str(checkout.folder)
    assert git.describe(["/", "/nowhere"], Pace(60)) is None


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
def test_commit_and_diff_together_make_the_same_tree(
    checkout: Checkout, tmp_path: Path, version: str, packed: bool
) -> None:
    checkout.write("data.bin", b"\0\1\2")
    checkout.write("gone.py", "gone\n")
    checkout.write("run.sh", "echo\n")
    checkout.write("to-link", "x\n")
    checkout.write("moved/old name.py", "a\nb\nc\n")
    (checkout.folder / "link").symlink_to("train.py")
    (checkout.folder / "kept-link").symlink_to("train.py")
    checkout.write("crlf.txt", "one\r\ntwo\r\n")
    checkout.write('ünï\tcode "x".txt', "ü\n")
    checkout.commit()
    for number in range(20):
        checkout.write("train.py", "".join(f"line {n} of {number if n % 7 == 0 else 0}\n" for n in range(300)))
        checkout.commit(f"{number}")
    checkout.git("update-index", "--index-version", version)
    if packed:
        checkout.git("gc", "-q", "--aggressive", "--prune=now")
        assert not list((checkout.folder / ".git/objects").glob("??"))

    lines = (checkout.folder / "train.py").read_text().splitlines(keepends=True)
    lines[10:12] = ["changed\n"]
    lines[150:150] = ["added\n", "added\n"]
    checkout.write("train.py", "".join(lines))
    checkout.write("README", "a newline at the end\n")
    checkout.write("crlf.txt", "one\r\nthree\r\n")
    checkout.write('ünï\tcode "x".txt', "ü\nand more")
    checkout.write("moved/old name.py", "a\nc\n")
    (checkout.folder / "gone.py").unlink()
    (checkout.folder / "run.sh").chmod(0o755)
    (checkout.folder / "link").unlink()
    (checkout.folder / "link").symlink_to("README")
    (checkout.folder / "to-link").unlink()
    (checkout.folder / "to-link").symlink_to("run.sh")
    checkout.write("staged/new.py", "new\n")
    checkout.write("staged/empty.py", "")
    checkout.git("add", "staged")
    checkout.write("staged/new.py", "new, and changed since\n")
    checkout.write("intended.py", "intended\n")
    checkout.git("add", "-N", "intended.py")
    checkout.git("rm", "-q", "--cached", "model/deep/er.txt")

    told = checkout.captured()
    assert "notes" not in told
    assert told["changed"] == [
        "M README", "M crlf.txt", "D gone.py", "A intended.py", "M link", "M moved/old name.py", "M run.sh",
        "A staged/empty.py", "A staged/new.py", "M to-link", "M train.py", "M ünï\tcode \"x\".txt",
        "D model/deep/er.txt",
    ]  # fmt: skip
    assert told["untracked"] == ["model/deep/"]
    assert "not_in_diff" not in told
    assert checkout.rebuilt(told, tmp_path / "clone") == checkout.tree()


def test_many_random_edits_make_the_same_tree(checkout: Checkout, tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(40):
        count = chance.randrange(200)
        checkout.write(
            f"src/{number}.py", "".join(f"{chance.choice('abcdef')} = {chance.randrange(30)}\n" for _ in range(count))
        )
    checkout.commit()
    checkout.git("gc", "-q")
    for number in range(40):
        file = checkout.folder / f"src/{number}.py"
        lines = file.read_text().splitlines(keepends=True)
        for _ in range(chance.randrange(30)):
            at = chance.randrange(len(lines) + 1)
            lines[at : at + chance.randrange(4)] = [f"{chance.choice('abc')}\n" for _ in range(chance.randrange(3))]
        file.write_text("".join(lines)[: None if chance.random() < 0.7 else -1])
    told = checkout.captured()
    assert checkout.rebuilt(told, tmp_path / "clone") == checkout.tree()
    ours, gits = told["diff"].count("\n"), checkout.git("diff", "HEAD").count("\n")
    assert ours <= 1.2 * gits


def test_a_file_that_was_only_touched_is_not_changed(checkout: Checkout) -> None:
    os.utime(checkout.folder / "train.py", (1, 1))
    assert checkout.captured()["dirty"] is False


def test_a_change_in_the_moment_of_the_commit_is_seen(checkout: Checkout) -> None:
    # The same size and the same time as git saw: only the content tells.
    at = (checkout.folder / "train.py").stat()
    checkout.write("train.py", "LINE" + (checkout.folder / "train.py").read_text()[4:])
    os.utime(checkout.folder / "train.py", ns=(at.st_atime_ns, at.st_mtime_ns))
    os.utime(checkout.folder / ".git/index", ns=(at.st_atime_ns, at.st_mtime_ns))
    assert checkout.captured()["changed"] == ["M train.py"]


def test_a_detached_head_and_packed_refs(checkout: Checkout) -> None:
    checkout.git("pack-refs", "--all")
    assert checkout.captured()["branch"] == "main"
    first = checkout.git("rev-parse", "HEAD").strip()
    checkout.commit("second")
    checkout.git("checkout", "-q", first)
    told = checkout.captured()
    assert (told["commit"], "branch" in told) == (first, False)


def test_a_branch_with_a_slash_in_a_worktree(checkout: Checkout, tmp_path: Path) -> None:
    checkout.git("worktree", "add", "-q", "-b", "try/lr", str(tmp_path / "other"))
    other = Checkout(tmp_path / "other")
    other.write("train.py", "other\n")
    told = other.captured()
    assert (told["root"], told["branch"], told["changed"]) == (str(other.folder), "try/lr", ["M train.py"])
    assert "+other\n" in told["diff"]


def test_a_clone_that_borrows_its_objects(checkout: Checkout, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", "--shared", checkout.folder, tmp_path / "clone"], check=True)
    clone = Checkout(tmp_path / "clone")
    clone.write("README", "changed\n")
    assert clone.captured()["changed"] == ["M README"]
    assert "-no newline at the end" in clone.captured()["diff"]


def test_before_the_first_commit_everything_staged_is_new(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.git("init", "-q", "-b", "main")
    assert checkout.captured()["notes"] == ["git's index cannot be read: No such file or directory"]
    checkout.write("a.py", "a\n")
    checkout.git("add", "a.py")
    told = checkout.captured()
    assert "commit" not in told
    assert (told["branch"], told["changed"]) == ("main", ["A a.py"])


def test_a_merge_conflict_is_named(checkout: Checkout) -> None:
    checkout.git("checkout", "-q", "-b", "other")
    checkout.write("README", "other\n")
    checkout.commit()
    checkout.git("checkout", "-q", "main")
    checkout.write("README", "main\n")
    checkout.commit()
    with pytest.raises(AssertionError):
        checkout.git("merge", "-q", "other")
    told = checkout.captured()
    assert told["changed"] == ["U README"]
    assert "+<<<<<<< HEAD\n" in told["diff"]


def test_a_submodule_at_another_commit_is_named(checkout: Checkout, tmp_path: Path) -> None:
    library = Checkout(tmp_path / "library")
    library.folder.mkdir()
    library.git("init", "-q")
    library.commit("first")
    checkout.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.folder), "library")
    checkout.commit()
    assert checkout.captured()["dirty"] is False
    inner = Checkout(checkout.folder / "library")
    commit = inner.commit("second")
    told = checkout.captured()
    assert told["changed"] == ["M library"]
    assert told["not_in_diff"] == {"library": f"it is a submodule, here at {commit}"}


def test_a_change_within_a_submodule_makes_its_repository_dirty(checkout: Checkout, tmp_path: Path) -> None:
    library = Checkout(tmp_path / "library")
    library.folder.mkdir()
    library.git("init", "-q")
    library.write("code.py", "x = 1\n")
    library.commit("first")
    checkout.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.folder), "library")
    checkout.commit()
    checkout.write("library/code.py", "x = 2\n")
    told = checkout.captured()
    assert (told["dirty"], told["changed"]) == (True, ["M library"])
    assert told["not_in_diff"]["library"].endswith("; changed in it: M code.py")


def test_what_cannot_be_shown_is_only_named(checkout: Checkout) -> None:
    checkout.write("data.bin", b"\0")
    checkout.write("latin.txt", "ö\n".encode("latin-1"))
    checkout.write("huge.txt", "x\n")
    checkout.write("long.txt", "x\n")
    checkout.write("pipe", "x\n")
    checkout.write(".env", "PASSWORD=hunter2\n")
    checkout.commit()
    checkout.write("data.bin", b"\0\0")
    checkout.write("latin.txt", "ä\n".encode("latin-1"))
    checkout.write("huge.txt", "y" * (changes.MOST_FILE_BYTES + 1))
    checkout.write("long.txt", "y\n" * 5000)
    checkout.write(".env", "PASSWORD=hunter3\n")
    (checkout.folder / "pipe").unlink()
    os.mkfifo(checkout.folder / "pipe")
    checkout.write("train.py", "short\n")
    told = checkout.captured(most_diff_bytes=5000)
    assert {path: reason.split(" ")[-1] for path, reason in told["not_in_diff"].items()} == {
        ".env": "secrets", "data.bin": "UTF-8", "huge.txt": "bytes", "latin.txt": "UTF-8", "long.txt": "bytes",
        "pipe": "file",
    }  # fmt: skip
    assert told["changed"] == [
        f"M {one}" for one in [".env", "data.bin", "huge.txt", "latin.txt", "long.txt", "pipe", "train.py"]
    ]
    assert "+short\n" in told["diff"]
    assert "hunter" not in str(told)


def test_untracked_files_are_named_and_folders_of_them_not_entered(checkout: Checkout) -> None:
    checkout.write("new.py", "x")
    checkout.write("model/more.py", "x")
    checkout.write("outputs/1/checkpoint.pt", "x")
    checkout.write("model/__pycache__/net.pyc", "x")
    assert checkout.captured()["untracked"] == ["new.py", "outputs/", "model/more.py"]


def test_secrets_in_changed_lines_are_hidden(checkout: Checkout) -> None:
    checkout.write("train.py", 'wandb.login(key="0123456789abcdef0123456789abcdef01234567")\nkey = "val/loss"\n')
    told = checkout.captured()
    assert '+wandb.login(key="[redacted]")\n+key = "val/loss"\n' in told["diff"]
    assert told["notes"] == ["the diff does not apply: 1 of its lines look like secrets and are hidden"]


def test_repositories_that_are_not_read_say_so(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.git("init", "-q", "--object-format=sha256")
    checkout.write("a", "a")
    checkout.commit()
    assert checkout.captured()["notes"] == ["a repository of SHA-256 objects is not read"]


@pytest.mark.parametrize("content", [b"gitdir: /nowhere\n", b"gitdir: a\0b\n", b"gitdir: .git\n", b"", b"\xff" * 9])
def test_a_git_file_that_leads_nowhere_is_told_or_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".git").write_bytes(content)
    told = git.describe([str(tmp_path)], Pace(60))
    assert told is None or ("commit" not in told and told["notes"])


def test_a_linked_git_folder_and_one_without_files_are_read(checkout: Checkout, tmp_path: Path) -> None:
    (checkout.folder / ".git").rename(tmp_path / "elsewhere")
    (checkout.folder / ".git").symlink_to(tmp_path / "elsewhere")
    assert checkout.captured()["dirty"] is False
    checkout.git("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    assert git.describe([str(tmp_path / "bare.git")], Pace(60)) is None  # it has no files that could be run


def test_a_split_index_says_so(checkout: Checkout) -> None:
    checkout.git("update-index", "--split-index")
    told = checkout.captured()
    assert told["notes"] == ["git's index is split, which is not read"]
    assert len(told["commit"]) == 40


def test_a_sparse_checkout_is_clean(checkout: Checkout) -> None:
    checkout.git("sparse-checkout", "set", "--cone", "--sparse-index", "model")
    assert not (checkout.folder / "model/deep/er.txt").exists() or checkout.captured()["dirty"] is False
    assert checkout.captured()["dirty"] is False
    checkout.git("sparse-checkout", "set", "--no-cone", "/README")
    assert not (checkout.folder / "train.py").exists()
    assert checkout.captured()["dirty"] is False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _spoil(path: Path, how: str, content: bytes) -> None:
    _remove(path)
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "noise":
        path.write_bytes(random.Random(3).randbytes(len(content)))
    elif how == "zeros":
        path.write_bytes(bytes(len(content)))
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif how == "folder":
        path.mkdir()


@pytest.mark.parametrize("how", ["cut", "noise", "zeros", "fifo", "device", "loop", "huge", "folder", "gone"])
@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
def test_a_broken_repository_is_told_and_nothing_hangs(checkout: Checkout, how: str, packed: bool) -> None:
    """Each of its files in turn is spoilt; what is told is told in notes and reasons."""
    checkout.write("more.py", "more\n")
    checkout.commit()
    if packed:
        checkout.git("gc", "-q")
    checkout.write("train.py", "changed\n")
    checkout.write("staged.py", "new\n")
    checkout.git("add", "staged.py")
    for path in [path for path in sorted(checkout.folder.rglob("*")) if path.is_file()]:
        status, content = path.stat(), path.read_bytes()
        _spoil(path, how, content)
        told = git.describe([str(checkout.folder)], Pace(10))
        assert told is None or len(str(told)) < 20_000
        _remove(path)
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert checkout.captured()["changed"] == ["A staged.py", "M train.py"]


def test_noise_in_any_byte_of_index_and_pack_never_raises(checkout: Checkout) -> None:
    checkout.git("gc", "-q")
    checkout.write("train.py", "changed\n")
    chance = random.Random(11)
    files = [
        checkout.folder / ".git/index",
        *checkout.folder.glob(".git/objects/pack/*.idx"),
        *checkout.folder.glob(".git/objects/pack/*.pack"),
    ]
    for file in files:
        content = file.read_bytes()
        file.chmod(0o600)
        for _ in range(100):
            spoilt = bytearray(content)
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
            file.write_bytes(spoilt)
            git.describe([str(checkout.folder)], Pace(10))
        file.write_bytes(content)


def test_there_is_an_end_however_much_there_is(checkout: Checkout) -> None:
    for number in range(3000):
        checkout.write(f"many/{number}", "x")
    checkout.commit()
    told = checkout.captured(work_s=0.005)
    assert told["commit"]
    assert any("no time" in note for note in told["notes"])
    assert "dirty" not in told  # nobody knows
    for number in range(3000):
        checkout.write(f"many/{number}", "y")
    told = checkout.captured(work_s=1)
    assert told["dirty"] is True
    assert "+y" in told["diff"]


def test_a_folder_that_became_a_link_is_not_followed(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / "model")
    (checkout.folder / "model").symlink_to("/proc/self")
    assert checkout.captured()["changed"] == ["D model/deep/er.txt", "D model/net.py"]


def test_deltas_that_do_not_fit_are_refused() -> None:
    pace = Pace(10)
    assert objects.apply_delta(b"hello", b"\x05\x07\x90\x05\x02!!", 100, pace) == b"hello!!"
    for bad in (
        b"\x04\x05\x90\x05",
        b"\x05\x06\x90\x05",
        b"\x05\x05\x00",
        b"\x05\x05\x90\x09",
        b"\x05\xff\xff\xff\x7f\x90\x05",
    ):
        with pytest.raises(objects.Unreadable):
            objects.apply_delta(b"hello", bad, 100, pace)
