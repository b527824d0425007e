"""Trials in forked processes that are killed at chosen moments."""

import multiprocessing
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Row:
    """One failure. `run(folder, trials)` causes it `trials` times in an empty folder and returns the number survived.

    `note` is printed after the numbers.
    """

    failure: str
    trials: int
    run: Callable[[Path, int], int]
    note: str = ""


def start(call: Callable[[], object]) -> multiprocessing.Process:
    """Run `call` in a forked process without output."""

    def run() -> None:
        torch.set_num_threads(1)  # the threads of the parent did not survive the fork
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            call()

    process = FORK.Process(target=run)
    process.start()
    return process


def in_child(call: Callable[[], object]) -> int:
    """Exit code of `call` in a forked process; minus the signal number if a signal killed it."""
    process = start(call)
    process.join()
    return process.exitcode


def killed_on_call(holder: Any, name: str, nth: int) -> None:
    """Replace `holder.name` by a function that kills this process at its nth call."""
    original, calls = getattr(holder, name), iter(range(1, 1_000_000))

    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == nth:
            if holder is torch:  # half of the checkpoint is in the file
                arguments[1].write(b"half a checkpoint")
                arguments[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(holder, name, call)


def same(one: Any, other: Any) -> bool:
    """Whether nested containers of tensors are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def noticed_flips(paths: list[Path], trials: int, read: Callable[[], object], refusal: type[Exception]) -> int:
    """Number of trials in which `read` raises `refusal` after one bit of a file is flipped. Restores the files."""
    draw, noticed = random.Random(0), 0
    for _ in range(trials):
        path = draw.choice(paths)
        whole = path.read_bytes()
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            read()
        except refusal:
            noticed += 1
        path.write_bytes(whole)
    return noticed


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """Mount a tmpfs with these options at `folder`; yields False if this process may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)


def may_mount(folder: Path) -> bool:
    try:
        with mounted(folder, "size=1m") as there:
            return there
    except FileNotFoundError:  # no such command
        return False
