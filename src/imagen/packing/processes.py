"""Archives by several processes, one archive in each at a time.

Processes write under temporary names. Only the main process, which holds the lock of the folder, gives an archive its
name: a process that outlives it by a moment publishes nothing.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import torch

from imagen.errors import UserError
from imagen.packing.archive import Job, Packed, Packer
from imagen.plugins import using_plugins

_job: list[Job] = []
"""The job of this process, if it is one of several."""


def packed(job: Job, numbers: Sequence[int], processes: int) -> Iterator[Packed]:
    """Write the archives `numbers` of a job, in any order, and yield each when it is finished.

    Raises:
        UserError: as `Packer.pack`; or if a process was killed.
    """
    if processes == 1 or len(numbers) < 2:
        packer = Packer(job)
        yield from map(packer.pack, numbers)
        return
    context = multiprocessing.get_context("spawn")  # what CUDA needs
    count = min(processes, len(numbers))
    with _Pool(context, job, count) as pool:
        futures = [pool.submit(_pack, number) for number in numbers]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "a process that wrote archives was killed, perhaps for lack of memory; start again, with fewer "
                "processes: finished archives are kept",
                environment=True,
            ) from None


class _Pool:
    """A pool whose processes end when this one leaves the block early, or is killed."""

    def __init__(self, context: SpawnContext, job: Job, count: int) -> None:
        # The other end of the pipe is closed in the end, by the kernel if by nobody else; the processes wait for that.
        self._end, self._held = context.Pipe(duplex=False)
        threads = max(torch.get_num_threads() // count, 1)
        arguments = (job, context.Value("i", 0), threads, self._end)
        self._pool = ProcessPoolExecutor(count, context, _begin, arguments)

    def __enter__(self) -> ProcessPoolExecutor:
        return self._pool

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        self._held.close()
        self._end.close()


def _begin(job: Job, number: "Synchronized[int]", threads: int, end: Connection) -> None:
    """Make this process ready: the next GPU, its share of the cores, and an end of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the main process ends the others
    threading.Thread(target=_end_with, args=(end,), daemon=True).start()
    with number.get_lock():
        place, number.value = number.value, number.value + 1
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())
    _job[:] = [job]


def _end_with(end: Connection) -> None:
    wait([end])
    os._exit(1)


@cache
def _packer() -> Packer:
    return Packer(_job[0])


def _pack(number: int) -> Packed:
    with using_plugins(_job[0].plugins):
        return _packer().pack(number)
