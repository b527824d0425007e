"""Kernel locks: one process at a time in a folder, and shared work between the processes of one evaluation."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagen.errors import UserError
from imagen.files import open_lock

LOCK = "lock"


@contextmanager
def only_builder(folder: Path) -> Iterator[None]:
    """Hold the lock of the cache in `folder`, or raise UserError at once, naming who holds it.

    The kernel drops the lock with its process, so one that was killed is no obstacle on the same machine. Whether a
    holder on another machine lives cannot be known: its lock must be removed by hand.
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
    """Hold the lock of the run in `folder`, or raise UserError at once, naming who holds it.

    A run that was killed goes on wherever the scheduler puts it, so what a dead process wrote is no obstacle.
    """
    with _locked(folder, "in training", "name") as (handle, _), _signed(handle):
        yield


@contextmanager
def hold(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path`; gives False at once when another process has it and `wait` is false.

    The kernel drops the lock with its process, so a killed one is no obstacle. The empty file stays: removing it would
    let two processes lock two files of one name.
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
def _locked(folder: Path, doing: str, option: str) -> Iterator[tuple[int, str]]:
    """The open lock file and what the last holder wrote into it."""
    path = folder / LOCK
    try:
        handle = open_lock(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; set {option} to another one, in a folder that can be written",
            environment=True,
        ) from error
    try:
        try:
            # Not flock: loader workers would inherit that lock and keep it while they outlive a killed parent. This
            # one is lost when any handle of the file is closed, so the file is read by the handle that locked it.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{folder} is {doing} by {_read(handle)}: wait for it to finish, stop that process, or set "
                f"{option} to another one",
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
