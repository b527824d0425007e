"""One builder at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagen.errors import UserError

LOCK = "lock"


@contextmanager
def only_builder(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, or raise UserError at once, naming who holds it.

    The kernel drops the lock with its process, so one that was killed is no obstacle on the same machine; what it
    wrote into the file is overwritten. Whether a holder on another machine lives cannot be known: its lock must be
    removed by hand.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; set text.folder to a folder that can be written", environment=True
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{folder} is being built by {_holder(path)}: wait for it to finish, or stop that process",
                environment=True,
            ) from None
        holder = _holder(path)
        if holder and not holder.endswith(f"on {socket.gethostname()}"):
            raise UserError(
                f"{folder} is locked by {holder}, another machine: wait for it, or delete {path} if it has stopped",
                environment=True,
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _holder(path: Path) -> str:
    return path.read_text(errors="replace").strip()
