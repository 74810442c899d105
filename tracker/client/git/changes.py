"""What differs between a commit and the files on disk, as `git diff HEAD` tells it, without running git.

A file is read only when it does not look as git saw it last: another size, mode or time of change. Filters
(`autocrlf`, Git LFS) are not applied: a file that went through one and was touched since counts as changed.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from contextlib import suppress

from tracker.client.typed import NamedTuple

try:
    from _sha1 import sha1  # type: ignore[import-not-found]  # hashlib loads OpenSSL, 4 MB
except ImportError:
    from hashlib import sha1

from tracker.client.files import open_plain
from tracker.client.git.index import Entry, Index
from tracker.client.git.objects import Objects, Unreadable, tree_entries
from tracker.client.git.patch import MISSING, Version, written
from tracker.client.git.repository import Repository, find
from tracker.client.pace import OutOfTime, Pace, read_plain

MOST_INDEX_BYTES = 1 << 24
MOST_FILES = 20_000
MOST_NAMES = 500
MOST_IN_FOLDER = 2000
MOST_FILE_BYTES = 1 << 20  # of a file whose difference is shown
MOST_HASHED_BYTES = 1 << 24  # of a file that must be read to know whether it changed
MOST_TREE_BYTES = 1 << 22
MOST_DEPTH = 3  # of submodules in submodules
MOST_NAMED_WITHIN = 5  # of the changes in a submodule
_LINK, _FOLDER, _SUBMODULE = 0o120000, 0o040000, 0o160000
_NEVER_TRACKED = re.compile(rb"(?:\.git|__pycache__|.*\.pyc|\.ipynb_checkpoints)\Z")
_SECRET_FILE = re.compile(
    rb"(?i)(?:\.env(?:\..*)?|\.netrc|\.npmrc|\.pypirc|\.pgpass|\.htpasswd|id_(?:rsa|dsa|ecdsa|ed25519).*|kubeconfig"
    rb"|.*\.(?:pem|key|p12|pfx|jks|keystore|kdbx|ovpn)|.*(?:secret|credential|password|api_?key).*)\Z"
)


class Found:
    """What was found: names by `M`odified, `A`dded, `D`eleted, `U`nmerged; the difference; what it lacks and why."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.untracked: list[str] = []
        self.diff: list[bytes] = []
        self.not_in_diff: dict[str, str] = {}
        self.notes: list[str] = []
        self.diff_bytes = 0
        self.is_complete = False  # all tracked files were looked at

    @property
    def dirty(self) -> bool | None:
        """Whether a tracked file differs from the commit; None where none of those that were looked at does."""
        return True if self.changed else False if self.is_complete else None


class Base(NamedTuple):
    """What a commit has: the files of the folders that were read, and the folders that are staged as they are there."""

    folders: dict[bytes, dict[bytes, Version]]
    as_staged: set[bytes]

    def version(self, entry: Entry) -> Version:
        """Return the commit's version of a tracked file."""
        folder = entry.path.rpartition(b"/")[0]
        while True:
            if folder in self.as_staged:
                return Version(entry.mode, entry.oid)
            if folder in self.folders or not folder:
                return self.folders.get(folder, {}).get(entry.path, MISSING)
            folder = folder.rpartition(b"/")[0]


class Changes:
    """Compares the files of a repository with a commit, which is None before the first one."""

    def __init__(
        self,
        repository: Repository,
        objects: Objects,
        commit: str | None,
        pace: Pace,
        most_diff_bytes: int,
        depth: int = 0,  # in how many submodules it lies
    ) -> None:
        self._repository, self._objects, self._commit, self._pace = repository, objects, commit, pace
        self._root = os.fsencode(repository.root)
        self._modes_count = repository.config.get("core.filemode", "true").lower() != "false"
        self._most_diff_bytes, self._depth = most_diff_bytes, depth
        self._index_time = (0, 0)
        self._base = Base({}, set())
        self._real_folders = {b"": True}
        self.found = Found()

    def look(self) -> Found:
        """Compare; what does not come to an end in time is told in the notes. Raises Unreadable for no index."""
        try:
            index = self._index()
            for _ in index.entries():
                pass
            if self._commit is not None:
                self._base = self._staged(self._commit, index.trees())
            tracked = self._compare(index)
            if index.count <= MOST_FILES:
                self._name_untracked(tracked)
        except OutOfTime:
            self.found.notes.append("there was no time to look at all files")
        except (struct.error, IndexError, ValueError):
            raise Unreadable("git's index is broken") from None
        return self.found

    def _index(self) -> Index:
        path = f"{self._repository.folder}/index"
        try:
            self._index_time = divmod(os.stat(path).st_mtime_ns, 1_000_000_000)
            return Index(read_plain(path, MOST_INDEX_BYTES, self._pace), self._pace)
        except OSError as problem:
            raise Unreadable(f"git's index cannot be read: {problem.strerror or problem}") from None

    def _staged(self, commit: str, staged: dict[bytes, bytes]) -> Base:
        """Read the commit's folders, but for those that are staged as they are there."""
        base = Base({}, set())
        try:
            head = self._objects.read_as("commit", bytes.fromhex(commit), MOST_TREE_BYTES)
            root = bytes.fromhex(head.split(b"\n", 1)[0].split(b" ")[1].decode("ascii"))
        except (Unreadable, ValueError, IndexError) as problem:
            self.found.notes.append(f"compared with git's index, for the commit cannot be read: {problem}")
            return Base({}, {b""})
        waiting = [(b"", root)]
        while waiting:
            self._pace.step()
            path, oid = waiting.pop()
            if staged.get(path) == oid:
                base.as_staged.add(path)
                continue
            prefix = path + b"/" if path else b""
            try:
                entries = tree_entries(self._objects.read_as("tree", oid, MOST_TREE_BYTES))
            except Unreadable as problem:
                self.found.notes.append(f"`{shown(path)}/` is compared with git's index: {problem}")
                base.as_staged.add(path)
                continue
            base.folders[path] = {prefix + name: Version(mode, one) for mode, name, one in entries if mode != _FOLDER}
            waiting += [(prefix + name, one) for mode, name, one in entries if mode == _FOLDER]
        return base

    def _compare(self, index: Index) -> set[bytes]:
        """Compare all files; return the paths that are tracked."""
        tracked: set[bytes] = set()
        for number, entry in enumerate(index.entries()):
            if number >= MOST_FILES:
                self.found.notes.append(f"of {index.count} files the first {MOST_FILES} were looked at")
                break
            if entry.path not in tracked:
                tracked.add(entry.path)
                self._compare_one(entry, self._base.version(entry))
            self._pace.step()
        else:
            for files in self._base.folders.values():
                for path in sorted(files.keys() - tracked):
                    if files[path].mode != _SUBMODULE:
                        self._changed(path, "D", files[path], MISSING, b"")
            self.found.is_complete = True
        return tracked

    def _compare_one(self, entry: Entry, base: Version) -> None:
        staged = Version(entry.mode, entry.oid)
        if entry.left_alone or entry.mode == _FOLDER:
            if staged != base and entry.mode != _FOLDER:
                self._only_named(entry.path, "M" if base.mode else "A", "it is staged, and not checked out")
            return
        if entry.mode == _SUBMODULE:
            return self._compare_submodule(entry, base)
        status = self._status(entry.path)
        if status is None or stat.S_ISDIR(status.st_mode):
            if base.mode:
                self._changed(entry.path, "D", base, MISSING, b"")
            return
        kind = "U" if entry.unmerged else "M" if base.mode else "A"
        mode = self._mode(status, staged.mode or base.mode)
        if not mode:
            return self._only_named(entry.path, kind, "it is no plain file")
        looks_same = mode == staged.mode and not entry.unmerged and self._looks_same(entry, status)
        if looks_same and staged == base:
            return
        try:
            oid, content = self._content(entry.path, status)
        except OSError as problem:
            return self._only_named(entry.path, kind, f"it cannot be read: {problem.strerror or problem}")
        if Version(mode, oid) != base:
            self._changed(entry.path, kind, base, Version(mode, oid), content)

    def _compare_submodule(self, entry: Entry, base: Version) -> None:
        root = os.path.join(self._repository.root, os.fsdecode(entry.path))
        commit, changed = entry.oid.hex(), None
        if os.path.lexists(f"{root}/.git"):
            with suppress(OSError, ValueError, Unreadable):
                there = find(root, self._pace)
                if there and there.root == os.path.realpath(root):
                    commit = there.head().commit or commit
                    changed = self._changed_within(there, commit)
        if changed or commit != base.oid.hex():
            beside = f"; changed in it: {', '.join(changed)}" if changed else ""
            self._only_named(entry.path, "M" if base.mode else "A", f"it is a submodule, here at {commit}{beside}")

    def _changed_within(self, submodule: Repository, commit: str) -> list[str]:
        if self._depth >= MOST_DEPTH:
            return []
        objects = Objects(submodule.objects, self._pace)
        try:
            return (
                Changes(submodule, objects, commit, self._pace, 0, self._depth + 1).look().changed[:MOST_NAMED_WITHIN]
            )
        finally:
            objects.close()

    def _status(self, path: bytes) -> os.stat_result | None:
        if not self._is_real_folder(path.rpartition(b"/")[0]):
            return None
        with suppress(OSError):
            return os.lstat(self._root + b"/" + path)
        return None

    def _is_real_folder(self, path: bytes) -> bool:
        """Say whether the folder and all above it, up to the root, are folders and no links."""
        known = self._real_folders.get(path)
        if known is None:
            known = self._is_real_folder(path.rpartition(b"/")[0])
            try:
                known = known and stat.S_ISDIR(os.lstat(self._root + b"/" + path).st_mode)
            except OSError:
                known = False
            self._real_folders[path] = known
        return known

    def _mode(self, status: os.stat_result, before: int) -> int:
        """Return the mode as git has it; 0 for what git has no mode for."""
        if stat.S_ISLNK(status.st_mode):
            return _LINK
        if not stat.S_ISREG(status.st_mode):
            return 0
        if not self._modes_count and stat.S_ISREG(before):
            return before
        return 0o100755 if status.st_mode & 0o100 else 0o100644

    def _looks_same(self, entry: Entry, status: os.stat_result) -> bool:
        seconds, ns = divmod(status.st_mtime_ns, 1_000_000_000)
        if entry.size != status.st_size & 0xFFFFFFFF or entry.mtime_s != seconds & 0xFFFFFFFF:
            return False
        if entry.mtime_ns and entry.mtime_ns != ns:
            return False
        # Changed in the same moment in which git looked: such a file looks the same and may be another.
        return (entry.mtime_s, entry.mtime_ns) < self._index_time

    def _content(self, path: bytes, status: os.stat_result) -> tuple[bytes, bytes | None]:
        """Return the object that git would make of the file and its content, None if that is too long to be shown."""
        place = self._root + b"/" + path
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(place)
            return _oid(content), content
        if status.st_size <= MOST_FILE_BYTES:
            content = read_plain(place, MOST_FILE_BYTES, self._pace, follow=False)
            return _oid(content), content
        return self._hashed(place), None

    def _hashed(self, place: bytes) -> bytes:
        fd = open_plain(place, follow=False)
        try:
            size = os.fstat(fd).st_size
            if size > MOST_HASHED_BYTES:
                raise OSError(f"it was touched and is longer than {MOST_HASHED_BYTES} bytes")
            digest = sha1(b"blob %d\0" % size)
            while size > 0:
                piece = os.read(fd, min(size, 1 << 16))
                if not piece:
                    raise OSError("it is being written")
                digest.update(piece)
                size -= len(piece)
                self._pace.step()
            return bytes(digest.digest())
        finally:
            os.close(fd)

    def _changed(self, path: bytes, kind: str, base: Version, disk: Version, content: bytes | None) -> None:
        reason = self._show(path, base, disk, content)
        if reason:
            self._only_named(path, kind, reason)
        else:
            self._name(path, kind)

    def _only_named(self, path: bytes, kind: str, reason: str) -> None:
        self._name(path, kind)
        if len(self.found.not_in_diff) < MOST_NAMES:
            self.found.not_in_diff[shown(path)] = reason

    def _name(self, path: bytes, kind: str) -> None:
        if len(self.found.changed) < MOST_NAMES:
            self.found.changed.append(f"{kind} {shown(path)}")
        elif len(self.found.changed) == MOST_NAMES:
            self.found.changed.append("…")

    def _show(self, path: bytes, base: Version, disk: Version, content: bytes | None) -> str | None:
        """Put the difference of a file into the diff; return why it is not there, None if it is."""
        if _SECRET_FILE.match(path.rpartition(b"/")[2]):
            return "its name says that it holds secrets"
        if content is None:
            return f"it is longer than {MOST_FILE_BYTES} bytes"
        try:
            old = self._objects.read_as("blob", base.oid, MOST_FILE_BYTES) if base.mode else b""
        except Unreadable as problem:
            return f"what it was cannot be read: {problem}"
        if not _is_text(old) or not _is_text(content):
            return "it is no text in UTF-8"
        section, room = [], self._most_diff_bytes - self.found.diff_bytes
        for line in written(path, base, disk, old, content, self._pace):
            section.append(line)
            room -= len(line)
            if room < 0:
                return f"the diff would be longer than {self._most_diff_bytes} bytes"
        self.found.diff_bytes = self._most_diff_bytes - room
        self.found.diff += section
        return None

    def _name_untracked(self, tracked: set[bytes]) -> None:
        folders = {b""}
        for path in tracked:
            while path:
                path = path.rpartition(b"/")[0]
                if path in folders:
                    break
                folders.add(path)
            self._pace.step()
        for folder in sorted(folders):
            self._pace.step()
            if self._is_real_folder(folder):
                self._name_untracked_in(folder, folders, tracked)

    def _name_untracked_in(self, folder: bytes, folders: set[bytes], tracked: set[bytes]) -> None:
        prefix = folder + b"/" if folder else b""
        names = []
        with suppress(OSError), os.scandir(os.path.join(self._root, folder)) as there:
            for number, one in enumerate(there):
                self._pace.step()
                if number >= MOST_IN_FOLDER:
                    self.found.notes.append(f"`{shown(folder)}/` has more than {MOST_IN_FOLDER} entries")
                    break
                path = prefix + one.name
                if path not in tracked and path not in folders and not _NEVER_TRACKED.match(one.name):
                    names.append(shown(path) + ("/" if one.is_dir(follow_symlinks=False) else ""))
        room = MOST_NAMES - len(self.found.untracked)
        self.found.untracked += sorted(names)[:room]
        if len(names) > room > 0:
            self.found.untracked.append("…")


def shown(path: bytes) -> str:
    """Return the path as text; bytes that are no UTF-8 are replaced."""
    return path.decode("utf-8", "replace")


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _oid(content: bytes) -> bytes:
    return bytes(sha1(b"blob %d\0" % len(content) + content).digest())
