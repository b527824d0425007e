"""A tar archive that rows are read from."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagen.checks.foreign import read_json
from imagen.data.reading.tar_headers import Content
from imagen.data.reading.tar_index import MAX_BYTES, WINDOW, read_member
from imagen.errors import UserError
from imagen.files import open_regular

RECORD = "shards.json"
"""What `imagen shards` writes beside its archives."""

NEAR = 1 << 16
"""Bytes between two members up to which it is cheaper to read them too than to ask twice."""


class Archive(ABC):
    """One tar archive. It holds no open file, so it can be copied to any process."""

    has_near_captions = True
    """Whether a caption is read from the archive itself; otherwise captions are kept beside the index."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name for error messages."""

    @property
    @abstractmethod
    def file_name(self) -> str:
        """The last part of the name."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of bytes."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What changes with its content."""

    @abstractmethod
    def content(self) -> AbstractContextManager[Content]:
        """A context in which all of it is read forwards, once."""

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """The bytes of a member.

        Raises:
            UserError: if they cannot be read.
        """

    def read_together(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of several members, given offset and size of each: by one read if they lie near each other.

        Raises:
            UserError: as `read`.
        """
        start, stop = min(offset for offset, _ in places), max(offset + size for offset, size in places)
        apart = stop - start - sum(size for _, size in places)
        if apart > NEAR * (len(places) - 1) or stop - start > MAX_BYTES:
            return [self.read(offset, size) for offset, size in places]
        content = self.read(start, stop - start)
        return [content[offset - start : offset - start + size] for offset, size in places]


@dataclass(frozen=True)
class LocalArchive(Archive):
    """An archive on this disk. Its identity is a path, a size, a modification time and a change time, which users
    cannot set back."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def file_name(self) -> str:
        return self.path.name

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def identity(self) -> str:
        stat = self.path.stat()
        return f"{self.path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{stat.st_ctime_ns}"

    @contextmanager
    def content(self) -> Iterator[Content]:
        try:
            with open_regular(self.path) as file:
                handle = file.fileno()
                yield Content(lambda offset, count: os.pread(handle, count, offset), os.fstat(handle).st_size, WINDOW)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror or error}", environment=True) from error

    def read(self, offset: int, size: int) -> bytes:
        return read_member(self.path, offset, min(size, MAX_BYTES))


def local_archives(path: Path) -> list[LocalArchive]:
    """The archive `path`, or the `*.tar` in the folder `path`.

    Raises:
        UserError: if there is none, or `imagen shards` has not finished them.
    """
    if path.is_dir():
        archives = sorted(path.glob("*.tar"))
        if not archives:
            raise UserError(f"{path} holds no .tar archives; a folder with metadata.jsonl is read by data=image_folder")
        _refuse_unfinished(path, len(archives))
        return [LocalArchive(archive) for archive in archives]
    if not path.is_file():
        raise UserError(f"there is no {path}; give a folder of tar archives, or one archive, with data.path=...")
    return [LocalArchive(path)]


def _refuse_unfinished(folder: Path, found: int) -> None:
    """Raises UserError if the record beside the archives speaks of another number of them."""
    if not (folder / RECORD).is_file():
        return
    record = read_json(folder / RECORD, f"restore it, or remove {RECORD}")
    number = record.get("archives") if isinstance(record, dict) else None
    if isinstance(number, int) and number != found:
        raise UserError(
            f"{folder} holds {found} of {number} archives: let the same `imagen shards` finish, or remove {RECORD} to "
            "train on these alone"
        )
