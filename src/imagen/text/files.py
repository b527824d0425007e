"""Files that are whole or not there, and their hashes."""

import hashlib
import os
import shutil
from pathlib import Path

from imagen.errors import UserError

_READ_BYTES = 1 << 20


def hash_file(file: Path) -> str:
    """sha256 of a file's content."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a kill at any moment leaves the old file or the new one, whole.

    Raises:
        UserError: naming path, bytes needed and bytes free, when the disk does not take it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        raise UserError(
            f"cannot write {path}: {error.strerror} (needs {len(content)} bytes, {free} free); "
            "make room or set text.folder to another disk",
            environment=True,
        ) from error
