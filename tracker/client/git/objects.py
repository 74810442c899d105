"""Git's objects, read from loose files and from packs as git's own documentation of its formats tells them."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress

from tracker.client.files import open_plain
from tracker.client.pace import Pace, read_plain
from tracker.client.typed import NamedTuple

MOST_PACKS = 64
MOST_ALTERNATES = 8
MOST_DELTAS = 400  # one upon the other; git itself makes chains of 50, or 250 when asked to
_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_OFS_DELTA, _REF_DELTA = 6, 7
_PIECE_BYTES = 1 << 14


class Unreadable(Exception):
    """An object is missing, too large or broken; the text says which."""


class Piece(NamedTuple):
    """What stands at a place of a pack. `kind` 6 and 7 are deltas; `base` then says upon what."""

    kind: int
    base: int | bytes
    content: bytes


class Objects:
    """The objects of a repository. To be closed."""

    def __init__(self, folder: str, pace: Pace) -> None:
        self._pace = pace
        self._folders = _with_alternates(folder, pace)
        self._packs: list[_Pack] | None = None

    def read(self, oid: bytes, most_bytes: int) -> tuple[str, bytes]:
        """Return an object's kind and its content. Raises Unreadable."""
        try:
            found = self._loose(oid, most_bytes) or self._packed(oid, most_bytes)
        except (OSError, zlib.error, struct.error, IndexError, ValueError) as problem:
            raise Unreadable(f"{oid.hex()[:12]} is broken: {problem}") from None
        if found is None:
            raise Unreadable(f"{oid.hex()[:12]} is not in this repository")
        return found

    def read_as(self, kind: str, oid: bytes, most_bytes: int) -> bytes:
        """Return the content of an object of this kind. Raises Unreadable."""
        there, content = self.read(oid, most_bytes)
        if there != kind:
            raise Unreadable(f"{oid.hex()[:12]} is a {there}, no {kind}")
        return content

    def close(self) -> None:
        """Close all files."""
        for pack in self._packs or ():
            pack.close()

    def _loose(self, oid: bytes, most_bytes: int) -> tuple[str, bytes] | None:
        name = oid.hex()
        for folder in self._folders:
            try:
                packed = read_plain(f"{folder}/{name[:2]}/{name[2:]}", most_bytes + _PIECE_BYTES, self._pace)
            except FileNotFoundError:
                continue
            unpacked = zlib.decompressobj().decompress(packed, most_bytes + 64)
            self._pace.step()
            head, _, content = unpacked.partition(b"\0")
            kind, size = head.split(b" ")
            if len(content) != int(size):
                raise Unreadable(f"{name[:12]} is larger than {most_bytes} bytes or cut off")
            return kind.decode("ascii"), content
        return None

    def _packed(self, oid: bytes, most_bytes: int) -> tuple[str, bytes] | None:
        for pack in self._all_packs():
            at = pack.find(oid)
            if at is not None:
                return self._unfolded(pack, at, most_bytes)
        return None

    def _unfolded(self, pack: _Pack, at: int, most_bytes: int) -> tuple[str, bytes]:
        """Read what stands there; a delta is applied to its base, and so on down to a whole object."""
        deltas: list[bytes] = []
        while True:
            piece = pack.piece(at, most_bytes)
            if piece.kind in _KINDS:
                kind, content = _KINDS[piece.kind], piece.content
                break
            deltas.append(piece.content)
            if len(deltas) > MOST_DELTAS or sum(map(len, deltas)) > 4 * most_bytes:
                raise Unreadable("a chain of deltas is too long")
            if isinstance(piece.base, int):
                at = piece.base
                continue
            there = pack.find(piece.base)
            if there is None:
                kind, content = self.read(piece.base, most_bytes)
                break
            at = there
        for delta in reversed(deltas):
            content = apply_delta(content, delta, most_bytes, self._pace)
        return kind, content

    def _all_packs(self) -> list[_Pack]:
        if self._packs is None:
            self._packs = []
            names = []
            for folder in self._folders:
                with suppress(OSError):
                    names += [f"{folder}/pack/{name}" for name in os.listdir(f"{folder}/pack")]
            for name in sorted(name for name in names if name.endswith(".idx"))[:MOST_PACKS]:
                with suppress(OSError, struct.error, Unreadable):
                    self._packs.append(_Pack(name[:-4], self._pace))
        return self._packs


def _with_alternates(folder: str, pace: Pace) -> list[str]:
    """The folder, and those that it borrows objects from."""
    folders = [folder]
    for one in folders:
        with suppress(OSError):
            said = read_plain(f"{one}/info/alternates", 1 << 16, pace).decode("utf-8", "surrogateescape")
            borrowed = [os.path.normpath(os.path.join(one, line)) for line in said.splitlines() if line[:1] not in "#"]
            folders += [new for new in borrowed if new not in folders][: MOST_ALTERNATES - len(folders)]
    return folders


class _Pack:
    """A pack and its index of version 2."""

    def __init__(self, path: str, pace: Pace) -> None:
        self._pace = pace
        self._index = open_plain(f"{path}.idx")
        self._pack = -1
        try:
            head = os.pread(self._index, 8 + 1024, 0)
            if head[:8] != b"\xfftOc\0\0\0\2":
                raise Unreadable("a pack's index is of a kind that is not read")
            self._fanout = struct.unpack(">256I", head[8:])
            self._pack = open_plain(f"{path}.pack")
            self._size = os.fstat(self._pack).st_size
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for fd in (self._index, self._pack):
            if fd >= 0:
                os.close(fd)

    def find(self, oid: bytes) -> int | None:
        """Return where in the pack the object stands; None when it is not in it."""
        low = self._fanout[oid[0] - 1] if oid[0] else 0
        high, total = self._fanout[oid[0]], self._fanout[255]
        names = 8 + 1024
        while low < high:
            self._pace.step()
            middle = (low + high) // 2
            there = os.pread(self._index, 20, names + 20 * middle)
            if there == oid:
                return self._place(names + 24 * total, middle, total)
            if len(there) < 20:
                raise Unreadable("a pack's index is cut off")
            low, high = (middle + 1, high) if there < oid else (low, middle)
        return None

    def _place(self, table: int, number: int, total: int) -> int:
        (at,) = struct.unpack(">I", os.pread(self._index, 4, table + 4 * number))
        if at & 0x80000000:
            (at,) = struct.unpack(">Q", os.pread(self._index, 8, table + 4 * total + 8 * (at & 0x7FFFFFFF)))
        return int(at)

    def piece(self, at: int, most_bytes: int) -> Piece:
        """Read what stands at this place."""
        if not 12 <= at < self._size:
            raise Unreadable("a pack points outside itself")
        head = os.pread(self._pack, 64, at)
        kind, size, used = head[0] >> 4 & 7, head[0] & 15, 1
        shift = 4
        while head[used - 1] & 0x80:
            size |= (head[used] & 0x7F) << shift
            used, shift = used + 1, shift + 7
        base: int | bytes = b""
        if kind == _OFS_DELTA:
            back, used = read_offset(head, used)
            base = at - back
        elif kind == _REF_DELTA:
            base, used = head[used : used + 20], used + 20
        elif kind not in _KINDS:
            raise Unreadable("a pack holds something unknown")
        if size > most_bytes:
            raise Unreadable(f"it is larger than {most_bytes} bytes")
        return Piece(kind, base, self._inflated(at + used, size))

    def _inflated(self, at: int, size: int) -> bytes:
        inflating, pieces, length = zlib.decompressobj(), [], 0
        while not inflating.eof:
            packed = os.pread(self._pack, _PIECE_BYTES, at)
            if not packed:
                raise Unreadable("a pack is cut off")
            piece = inflating.decompress(packed, size + 1 - length)
            pieces.append(piece)
            at, length = at + len(packed) - len(inflating.unconsumed_tail), length + len(piece)
            if length > size:
                raise Unreadable("an object of a pack is longer than it says")
            self._pace.step()
        if length != size:
            raise Unreadable("an object of a pack is shorter than it says")
        return b"".join(pieces)


def read_offset(raw: bytes, at: int) -> tuple[int, int]:
    """Read a number as packs and indexes of version 4 have it; return it and where it ends."""
    value = raw[at] & 0x7F
    while raw[at] & 0x80:
        at += 1
        value = (value + 1) << 7 | raw[at] & 0x7F
    return value, at + 1


def apply_delta(base: bytes, delta: bytes, most_bytes: int, pace: Pace) -> bytes:
    """Make what a delta says of its base. Raises Unreadable when the two do not fit, IndexError when it is cut off."""
    base_size, at = _read_size(delta, 0)
    size, at = _read_size(delta, at)
    if base_size != len(base) or size > most_bytes:
        raise Unreadable("a delta does not fit its base, or makes too much of it")
    made = bytearray()
    while at < len(delta):
        pace.step()
        order, at = delta[at], at + 1
        if order & 0x80:
            start, length, at = _read_copy(delta, at, order)
            piece = base[start : start + length]
        else:
            length, piece, at = order, delta[at : at + order], at + order
        made += piece
        if not length or len(piece) != length or len(made) > size:
            raise Unreadable("a delta is broken")
    if len(made) != size:
        raise Unreadable("a delta is broken")
    return bytes(made)


def _read_size(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (raw[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not raw[at - 1] & 0x80:
            return value, at


def _read_copy(raw: bytes, at: int, order: int) -> tuple[int, int, int]:
    """Read which bytes of the base are copied: those of offset and length that are not zero stand there."""
    fields = [0] * 7
    for bit in range(7):
        if order >> bit & 1:
            fields[bit], at = raw[at], at + 1
    start = int.from_bytes(bytes(fields[:4]), "little")
    return start, int.from_bytes(bytes(fields[4:]), "little") or 0x10000, at


def tree_entries(raw: bytes) -> list[tuple[int, bytes, bytes]]:
    """Read a tree: mode, name and object of each entry, in git's order. Raises Unreadable."""
    found, at = [], 0
    while at < len(raw):
        space = raw.find(b" ", at)
        end = raw.find(b"\0", space)
        if space < 0 or end < 0 or end + 21 > len(raw):
            raise Unreadable("a tree is broken")
        try:
            mode = int(raw[at:space], 8)
        except ValueError:
            raise Unreadable("a tree is broken") from None
        found.append((mode, raw[space + 1 : end], raw[end + 1 : end + 21]))
        at = end + 21
    return found
