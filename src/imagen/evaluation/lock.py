"""Kernel locks between the processes of one evaluation."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagen.files import open_lock


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
