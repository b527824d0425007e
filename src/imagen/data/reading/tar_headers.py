"""The headers of a plain tar, read by a loop that takes a fraction of the time of `tarfile`.

It knows regular files and folders with octal numbers, and pax headers with times, owners or a name (img2dataset writes
one for every member). Of everything else (links, GNU long names, sparse files, numbers in base 256, damage) it says
only that there is something else, and `tarfile` decides what that is.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import adler32

BLOCK = 512

Place = tuple[str, int, int]
"""A regular file in an archive: its name, the offset of its first byte, its number of bytes."""


class IrregularError(Exception):
    """Something that only `tarfile` understands, or damage."""


@dataclass
class Content:
    """The bytes of an archive, read forwards in windows: a part that nothing is asked of is not read.

    Args:
        read: gives the bytes from an offset on, so many or up to the end.
        size: of the archive, in bytes.
        window: number of bytes that are read at once.
    """

    read: Callable[[int, int], bytes]
    size: int
    window: int

    def __post_init__(self) -> None:
        self._start, self._held = 0, b""

    def at(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset` on; fewer at the end."""
        place = offset - self._start
        if place < 0 or place + count > len(self._held):
            self._start = offset - offset % self.window
            stop = offset + count
            stop += -stop % self.window
            self._held = self.read(self._start, min(stop, self.size) - self._start) if self._start < self.size else b""
            place = offset - self._start
        return self._held[place : place + count]


def _octal(width: int) -> bytes:
    """A number as Python, GNU and BSD write it: octal digits, ended by one or two blanks or zero bytes."""
    return rb"[0-7]{%d}[0-7 \0][ \0]" % (width - 2)


_DEVICE = rb"(?:%b|\0{8})" % _octal(8)
_HEADER = re.compile(
    rb"([^\0]{1,100})\0*"  # name; all else has a fixed width
    rb"%b%b%b"
    % (_octal(8), _octal(8), _octal(8))  # mode, user, group
    + rb"([0-7]{10}[0-7 \0])[ \0]%b" % _octal(12)  # size, time
    + rb"([0-7]{6})[ \0]{2}([0\x005x])"  # checksum, type
    + rb"(?s:.{100}.{8}.{64})%b%b" % (_DEVICE, _DEVICE)  # link, magic, names of user and group, device
    + rb"(?s:(.{155}).{12})\Z"  # prefix
)
_RECORD = re.compile(rb"([1-9][0-9]*) ([^=\n]+)=")
_HARMLESS = frozenset({b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname"})
_MAX_PAX = 1 << 16


def plain_members(content: Content) -> Iterator[Place]:
    """The regular files of a tar, in order.

    Raises:
        IrregularError: where it meets anything but a plain header, and where the archive has no end mark.
    """
    offset, named = 0, None
    end = bytes(BLOCK)
    while (block := content.at(offset, BLOCK)) != end:
        found = _HEADER.match(block)
        if found is None or int(found[3], 8) != _sum(block) - sum(block[148:156]) + 256:
            raise IrregularError
        kind, size = found[4], int(found[2].rstrip(b" \0"), 8)
        if kind == b"\0" and found[1].endswith(b"/"):  # a folder, in the oldest format
            raise IrregularError
        start = offset + BLOCK
        if kind == b"x":
            if named is not None:
                raise IrregularError
            offset = start + size + -size % BLOCK
            named = _name_in_pax(content.at(start, min(offset - start, _MAX_PAX)), size)
            continue
        name = named or _name(found[1], found[5])
        offset = start
        if kind != b"5":
            yield name, start, size
            offset += size + -size % BLOCK
        elif named is not None:
            raise IrregularError
        named = None
    if named is not None or offset == 0:
        raise IrregularError


def _sum(block: bytes) -> int:
    """Of 512 bytes. If all are below 128, it is below 65521, and then adler32 holds it, plus 1."""
    return (adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)


def _name(name: bytes, prefix: bytes) -> str:
    before = prefix.partition(b"\0")[0]
    return (before + b"/" + name if before else name).decode("utf-8", "surrogateescape")


def _name_in_pax(records: bytes, size: int) -> str:
    """The name that a pax header gives to the next member; empty if it gives none."""
    name, place = "", 0
    if len(records) < size or records[size:].strip(b"\0"):
        raise IrregularError
    while place < size:
        found = _RECORD.match(records, place)
        if found is None:
            raise IrregularError
        stop = place + int(found[1])
        value = records[found.end() : stop - 1]
        if stop > size or stop <= found.end() or records[stop - 1 : stop] != b"\n":
            raise IrregularError
        if found[2] == b"path" and value.rstrip(b"/") and b"\0" not in value:
            try:
                name = value.decode().rstrip("/")
            except UnicodeDecodeError:
                raise IrregularError from None
        elif found[2] not in _HARMLESS:
            raise IrregularError
        place = stop
    return name
