"""The members of a tar archive, so that each is read without unpacking.

Nothing is extracted, so `../`, absolute paths and links in member names do no harm.
"""

import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path

from imagen.data.reading.tar_headers import Content, IrregularError, Place, plain_members
from imagen.errors import UserError
from imagen.files import open_regular

MAX_BYTES = 1 << 28
"""Larger members are not read: they would fill the memory of a loader worker."""

WINDOW = 1 << 13
"""Bytes of an archive on this disk that are read at once for its headers."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive, at bytes `offset` to `offset + size`."""

    name: str
    offset: int
    size: int


def members_of(archive: Path) -> Iterator[Member]:
    """The regular files of an uncompressed tar, in order. Links, folders and devices are skipped.

    Raises:
        UserError: if it is not a tar, is compressed, damaged or truncated; names the last whole member.
    """
    try:
        with open_regular(archive) as file:
            content = Content(lambda offset, count: os.pread(file.fileno(), count, offset), _size(file), WINDOW)
            try:
                places = list(plain_members(content))
            except IrregularError:
                places = tar_members(content, str(archive))
            yield from (Member(*place) for place in places)
    except OSError as error:
        raise UserError(f"{archive} cannot be read: {error.strerror or error}", environment=True) from error


def tar_members(content: Content, name: str) -> Iterator[Place]:
    """`members_of` by `tarfile`, which knows every kind of member, from the content of an archive called `name`."""
    last = "its beginning"
    try:
        with tarfile.open(fileobj=BufferedReader(_Stream(content)), mode="r:") as tar:
            end = -1
            while (info := tar.next()) is not None:
                if info.offset <= end or info.size < 0:
                    raise tarfile.ReadError("a header that points backwards")
                end = info.offset
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]: otherwise tarfile keeps them all
                if info.isreg() and not info.issparse():
                    last = f"member {shown(info.name)}"
                    yield info.name, info.offset_data, info.size
            # tarfile takes a damaged header, or a cut between members, for the end.
            if content.at(tar.offset, tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("a damaged header, or cut: there is no end-of-archive mark")
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{name}: {_reason_of(content, error)}, after {last}; download the shard again, or remove it"
        ) from error


def sample_of(name: str) -> tuple[str, str]:
    """The key that all members of a sample share, the path up to the first dot of the file name; and the part after
    that dot, in lower case."""
    folder, file = posixpath.split(name) if "//" in name else ("", name)
    start = file.rfind("/") + 1
    dot = file.find(".", start)
    key, extension = (file, "") if dot < 0 else (file[:dot], file[dot + 1 :].lower())
    return posixpath.join(folder, key) if folder else key, extension


def read_member(archive: Path, offset: int, size: int) -> bytes:
    """The bytes of a member; fewer if the archive was cut since. Opens the file each time: workers share no handle."""
    handle = os.open(archive, os.O_RDONLY)
    try:
        return os.pread(handle, min(size, MAX_BYTES), offset)
    finally:
        os.close(handle)


def shown(name: str) -> str:
    """A member's name, safe to print on one line."""
    return name if name.isprintable() else repr(name)


class _Stream(RawIOBase):
    """The content of an archive as `tarfile` wants it."""

    def __init__(self, content: Content) -> None:
        self._content, self._place = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._content.size}[whence] + offset
        if place < 0:
            raise ValueError(f"an offset of {place}")
        self._place = place
        return self._place

    def readinto(self, buffer: memoryview) -> int:
        found = self._content.at(self._place, len(buffer))
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size


def _reason_of(content: Content, error: Exception) -> str:
    head = content.at(0, 4)
    if head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head == b"\xfd7zX":
        return "compressed, so that no member can be read by itself: unpack it to a plain tar"
    if not head:
        return "empty (0 bytes)"
    return f"not a whole tar archive ({' '.join(str(error).split()) or type(error).__name__})"
