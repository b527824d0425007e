"""Kernel locks: one process at a time in a cache or run, and shared work between the processes of one evaluation."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imagen.errors import UserError
from imagen.files import open_lock

LOCK = "lock"


@contextmanager
def only_builder(folder: Path) -> Iterator[None]:
    """Hold the lock of the cache in `folder`. Raises UserError at once if another process holds it, and names that one.

    The kernel releases the lock when its process ends, so a killed process on this machine blocks nobody. Whether a
    process on another machine is alive cannot be known: its lock must be removed by hand.
    """
    with _locked(folder, "being built", "text.folder") as (handle, before):
        if before and not before.endswith(f"on {socket.gethostname()}"):
            raise UserError(
                f"{folder} is locked by {before}, another machine: wait for it, or delete {folder / LOCK} if it has "
                "stopped",
                environment=True,
            )
        with _signed(handle):
            yield


@contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Hold the lock of the run in `folder`. Raises UserError at once if another process holds it, and names that one.

    A killed run resumes on any machine that the scheduler chooses, so the name left by a dead process is ignored.
    """
    with _locked(folder, "in training", "name") as (handle, _), _signed(handle):
        yield


@contextmanager
def hold(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path`; yields False at once if another process holds it and `wait` is false.

    The kernel releases the lock when its process ends, so a killed process blocks nobody. The empty file stays: if it
    were removed, two processes could lock two files of the same name.
    """
    handle = open_lock(path)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made if it is missing. Raises UserError at once if another process holds it.

    The lock file is removed in the end, and so is a folder in which nothing is left. (Of two processes that start in
    that moment both may get it. What they write there is written atomically, so it is merely done twice.)
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f".{LOCK}"
    with hold(lock, wait=False) as held:
        if not held:
            raise UserError(
                f"another process writes into {folder}: wait for it, stop it, or give another out=", environment=True
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _locked(folder: Path, doing: str, option: str) -> Iterator[tuple[int, str]]:
    """The descriptor of the locked file, and what its last holder wrote into it."""
    path = folder / LOCK
    try:
        handle = open_lock(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; choose another {option}, in a writable folder",
            environment=True,
        ) from error
    try:
        try:
            # lockf, not flock: loader workers inherit a flock and would keep it after their parent was killed. A lockf
            # is lost when any descriptor of the file is closed, so the file is read through the one that locked it.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{folder} is {doing} by {_read(handle)}: wait for it to finish, stop that process, or "
                f"choose another {option}",
                environment=True,
            ) from None
        yield handle, _read(handle)
    finally:
        os.close(handle)


@contextmanager
def _signed(handle: int) -> Iterator[None]:
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    try:
        yield
    finally:
        os.ftruncate(handle, 0)


def _read(handle: int) -> str:
    return os.pread(handle, 200, 0).decode(errors="replace").strip()
