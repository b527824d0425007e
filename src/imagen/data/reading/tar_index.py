"""The offsets of the members of a tar archive, so that members are read without unpacking.

Nothing is extracted, so `../`, absolute paths and links in member names do no harm.
"""

import hashlib
import os
import posixpath
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from imagen.errors import UserError
from imagen.files import open_regular, write_atomically

MAX_BYTES = 1 << 28
"""Larger members are not read: they would fill the memory of a loader worker."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive, at bytes `offset` to `offset + size`."""

    name: str
    offset: int
    size: int

    @property
    def key(self) -> str:
        """The key that all members of a sample share: the path up to the first dot of the file name."""
        folder, name = posixpath.split(self.name)
        return posixpath.join(folder, name.partition(".")[0])

    @property
    def extension(self) -> str:
        """The part of the file name after its first dot, in lower case."""
        return posixpath.basename(self.name).partition(".")[2].lower()


def members_of(archive: Path) -> Iterator[Member]:
    """The regular files of an uncompressed tar, in order. Links, folders and devices are skipped.

    Raises:
        UserError: if it is not a tar, is compressed, damaged or truncated; names the last whole member.
    """
    last = "its beginning"
    try:
        with open_regular(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            end = -1
            while (info := tar.next()) is not None:
                if info.offset <= end or info.size < 0:
                    raise tarfile.ReadError("a header that points backwards")
                end = info.offset
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]: otherwise tarfile keeps them all
                if info.isreg() and not info.issparse():
                    last = f"member {shown(info.name)}"
                    yield Member(info.name, info.offset_data, info.size)
            _check_end(file, tar.offset)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{archive}: {_reason_of(archive, error)}, after {last}; download the shard again, or remove it"
        ) from error
    except OSError as error:
        raise UserError(f"{archive} cannot be read: {error.strerror or error}", environment=True) from error


def indexed_members(archive: Path, folder: Path) -> list[Member]:
    """`members_of`, from the index in `folder` if the archive was read before.

    An index belongs to a path, a size, a modification time and a change time, which users cannot set back. A damaged
    index is rebuilt.

    Raises:
        UserError: as `members_of`, and if the index cannot be written.
    """
    stat = archive.stat()
    identity = f"{archive.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{stat.st_ctime_ns}"
    path = folder / f"{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"
    try:
        with np.load(path, allow_pickle=False) as index:
            names = index["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")
            return [Member(*row) for row in zip(names, index["offsets"].tolist(), index["sizes"].tolist(), strict=True)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        members = list(members_of(archive))
    _write_index(members, path)
    return members


def _write_index(members: list[Member], path: Path) -> None:
    # A name in a tar ends at its first NUL, so NUL can separate names.
    names = "\0".join(member.name for member in members).encode("utf-8", "surrogateescape")
    content = BytesIO()
    np.savez(
        content,
        names=np.frombuffer(names, np.uint8),
        offsets=np.array([member.offset for member in members], np.int64),
        sizes=np.array([member.size for member in members], np.int64),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


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


def _check_end(file: BinaryIO, offset: int) -> None:
    """Check the end-of-archive mark: tarfile takes a damaged header, or a cut between members, for the end."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("a damaged header, or cut: there is no end-of-archive mark")


def _reason_of(archive: Path, error: Exception) -> str:
    with open_regular(archive) as file:
        head = file.read(4)
    if head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head == b"\xfd7zX":
        return "compressed, so that no member can be read by itself: unpack it to a plain tar"
    if not head:
        return "empty (0 bytes)"
    return f"not a whole tar archive ({' '.join(str(error).split()) or type(error).__name__})"
