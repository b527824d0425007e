"""Files that are whole or not there, and their hashes."""

import hashlib
import os
import shutil
from pathlib import Path

from imagen.errors import UserError


def sha256_of_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(partial: Path, path: Path) -> None:
    """Give a finished file its name, in the same folder, so that a crash leaves it whole there or not at all."""
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a kill at any moment leaves the old file or the new one, whole.

    Raises:
        UserError: naming path, bytes needed and bytes free, when the disk does not take it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
        publish(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        raise UserError(
            f"cannot write {path}: {error.strerror} (needs {len(content)} bytes, {free} free); "
            "make room, or choose a folder on another disk",
            environment=True,
        ) from error
