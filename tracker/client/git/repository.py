"""Where a git repository is, and what it says of itself: branch, commit, remote."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from tracker.client.git.objects import Unreadable
from tracker.client.pace import Pace, read_plain
from tracker.client.typed import NamedTuple

_MOST_FOLDERS_UP = 64
_MOST_LINKED_REFS = 5
_SMALL_BYTES = 1 << 16
_PACKED_REFS_BYTES = 1 << 24
_SHA1 = re.compile(r"[0-9a-f]{40}\Z")
_SECTION = re.compile(r'\s*\[\s*([A-Za-z0-9.-]+)\s*(?:"((?:[^"\\]|\\.)*)")?\s*\]\s*(.*)')


class Head(NamedTuple):
    """What is checked out: a branch (None when detached) and a commit (None before the first one)."""

    branch: str | None
    commit: str | None


class Repository:
    """A working tree at `root`. `folder` is its own `.git`, `common` the one that worktrees share."""

    def __init__(self, root: str, folder: str, pace: Pace) -> None:
        self.root, self.folder, self._pace = root, folder, pace
        common = self._small(f"{folder}/commondir")
        self.common = os.path.normpath(os.path.join(folder, common.strip())) if common else folder
        self.config = _settings(self._small(f"{self.common}/config") or "")

    @property
    def objects(self) -> str:
        """The folder of the objects."""
        return f"{self.common}/objects"

    def unread_format(self) -> str | None:
        """Return why this repository cannot be read; None when it can."""
        if self.config.get("extensions.objectformat", "sha1").lower() != "sha1":
            return "a repository of SHA-256 objects is not read"
        if self.config.get("extensions.refstorage", "files").lower() != "files":
            return "a repository that keeps its refs in another form than files is not read"
        return None

    def head(self) -> Head:
        """Return what is checked out. Raises Unreadable."""
        said = (self._small(f"{self.folder}/HEAD") or "").strip()
        if _SHA1.match(said):
            return Head(None, said)
        if not said.startswith("ref:"):
            raise Unreadable("git's HEAD is broken")
        name = said[4:].strip()
        return Head(name[11:] if name.startswith("refs/heads/") else name, self._resolved(name))

    def remote(self) -> str | None:
        """Return the address that the branch comes from, `origin`'s or the first there is; as the config has it."""
        addresses = [name for name in self.config if re.match(r"remote\..*\.url\Z", name, re.DOTALL)]
        name = "remote.origin.url" if "remote.origin.url" in addresses else next(iter(addresses), "")
        return self.config.get(name)

    def _resolved(self, name: str) -> str | None:
        for _ in range(_MOST_LINKED_REFS):
            if not re.match(r"refs/[^\0]+\Z", name) or ".." in name:
                raise Unreadable("git's HEAD points to a strange place")
            said = (self._small(f"{self.common}/{name}") or "").strip() or self._packed(name)
            if not said or _SHA1.match(said):
                return said
            if not said.startswith("ref:"):
                break
            name = said[4:].strip()
        raise Unreadable(f"git's {name[:100]} is broken")

    def _packed(self, name: str) -> str | None:
        with suppress(FileNotFoundError):
            packed = read_plain(f"{self.common}/packed-refs", _PACKED_REFS_BYTES, self._pace)
            found = re.search(rb"^([0-9a-f]{40}) " + re.escape(os.fsencode(name)) + rb"$", packed, re.MULTILINE)
            return found[1].decode("ascii") if found else None
        return None

    def _small(self, path: str) -> str | None:
        with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            if not os.path.isdir(path):
                return os.fsdecode(read_plain(path, _SMALL_BYTES, self._pace))
        return None


def find(folder: str, pace: Pace) -> Repository | None:
    """Return the repository that this folder lies in, or None. Raises OSError for one that cannot be read."""
    folder = os.path.realpath(folder)
    for _ in range(_MOST_FOLDERS_UP):
        place = f"{folder.rstrip('/')}/.git"
        if os.path.isdir(place) and os.path.lexists(f"{place}/HEAD"):
            return Repository(folder, place, pace)
        if os.path.isfile(place):
            said = os.fsdecode(read_plain(place, _SMALL_BYTES, pace))
            if said.startswith("gitdir:"):
                return Repository(folder, os.path.normpath(os.path.join(folder, said[7:].strip())), pace)
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    return None


def _settings(text: str) -> dict[str, str]:
    """Read a git config as far as it matters here: `section.sub.name`, the last value of each; no includes."""
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        header = _SECTION.match(line)
        if header:
            sub = re.sub(r"\\(.)", r"\1", header[2]) + "." if header[2] is not None else ""
            section, line = f"{header[1].lower()}.{sub}", header[3]
        name, mark, value = line.strip().partition("=")
        if name and name[0] not in "#;" and section:
            found[section + name.strip().lower()] = _value(value) if mark else "true"
    return found


def _value(text: str) -> str:
    text = text.strip()
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"', text)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else re.split(r"\s[#;]", text)[0].strip()
