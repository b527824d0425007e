"""Atomic writes, safe reads and hashes of files.

Folders may come from somebody else. Nothing is written through a symbolic link, and only regular files are read:
opening a named pipe would block for ever.
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from imagen.errors import UserError
from imagen.places import ROOT


def sha256_of_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def root() -> Path:
    """The folder that holds runs/ and assets/: IMAGEN_ROOT, or the checkout that this package is imported from."""
    return user_path(os.environ.get("IMAGEN_ROOT") or ROOT)


def user_path(value: str | Path) -> Path:
    """A path that a user gave in an option or a file. `~` becomes the home folder, also where no shell expands it.

    Raises:
        UserError: if it is not text, is empty, or names the home folder of an unknown user.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise UserError(f"{value!r:.120} is not a path; give a file or a folder")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise UserError(f"{value}: there is no home folder of that name; write the path in full") from None


def open_regular(path: Path) -> BufferedReader:
    """Open `path` for reading, in binary mode.

    Raises:
        UserError: if it is a named pipe, a socket, a device or a folder.
        OSError: if it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UserError(f"{path} is not a regular file; put a file there")
    return os.fdopen(handle, "rb")


def open_lock(path: Path) -> int:
    """Open a lock file, and create it if it is missing. Returns its file descriptor.

    Raises:
        UserError: if `path` is a symbolic link or not a regular file, because locking writes into the file.
        OSError: if it cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise UserError(f"{path} is a symbolic link and would be written through; remove it")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UserError(f"{path} is not a regular file; remove it")
    return handle


def create(path: Path) -> BinaryIO:
    """Create a file at `path`, open for writing. An old file is deleted; of a symbolic link, only the link."""
    path.unlink(missing_ok=True)
    return path.open("xb")


def publish(partial: Path, path: Path) -> None:
    """Rename a finished file to `path`, in the same folder. After a crash the file is there whole, or not at all."""
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(path)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Flush the entries of `folder` to disk, so that they survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Metadata and tensors of a safetensors file.

    Raises:
        UserError: if it is not a regular file.
        OSError, SafetensorError: if it is missing or damaged.
    """
    from safetensors import safe_open

    open_regular(path).close()
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file that replaces `path` when the block ends, and is deleted if the block fails.

    If the process is killed, the old file or the new one is there, whole. Missing parent folders are created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with create(partial) as stream:
            yield stream
        publish(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`. If the process is killed, the old file or the new one is there, whole.

    Raises:
        UserError: if the file cannot be written; names the path, the bytes needed and the bytes free.
    """
    try:
        with replacing(path) as stream:
            stream.write(content)
    except OSError as error:
        existing = next(folder for folder in path.parents if folder.exists())
        free = shutil.disk_usage(existing).free
        raise UserError(
            f"cannot write {path}: {error.strerror} (needs {len(content)} bytes, {free} free); "
            "make room, or choose a folder on another disk",
            environment=True,
        ) from error


def write_text(text: str, path: Path) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomically(path, text.encode())


def write_json(value: Any, path: Path) -> None:
    """Write `value` as indented JSON, atomically. Raises ValueError for NaN and infinity, which are not JSON."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def fingerprint(value: Any) -> str:
    """Hexadecimal sha256 of a value made of dicts, lists, strings and numbers; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False).encode()).hexdigest()
