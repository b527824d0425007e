"""Several processes that train together, as forks of the test: nothing is imported again."""

import os
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkProcess

import torch


def start_together(work: Callable[[], object], processes: int = 2) -> list[ForkProcess]:
    """Begin `work` in each of `processes`, which find each other as under torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("fork")
    started = [context.Process(target=_one, args=(work, rank, processes, port)) for rank in range(processes)]
    for process in started:
        process.start()
    return started


def train_together(work: Callable[[], object], processes: int = 2, seconds: float = 240) -> None:
    """`work` in each of `processes`; fails if one of them does."""
    started = start_together(work, processes)
    for process in started:
        process.join(seconds)
    hanging = [process for process in started if process.is_alive()]
    for process in hanging:
        process.kill()
    assert not hanging, "the processes wait for each other"
    assert [process.exitcode for process in started] == [0] * processes


def _one(work: Callable[[], object], rank: int, processes: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    torch.set_num_threads(1)
    try:
        work()
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
    os._exit(0)  # without what pytest would do at the end of this process
