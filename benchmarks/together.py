"""Several processes that train together."""

import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from imagen.commandline.command import prepare_environment, run_reporting_errors


def train_together(work: Callable[[], object], processes: int = 2) -> None:
    """`work`, which can be pickled, in each of `processes`, which find each other as under torchrun; fails if it does
    in one of them.

    They are forks of a process that has only imported the package, whatever this one has done: autograd refuses to work
    in a fork of a process in which it has started threads.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["imagen.app.train"])
    codes = exit_codes(_started(context, work, processes, quiet=False))
    assert codes == [0] * processes, codes


def start_together(work: Callable[[], object], processes: int = 2, quiet: bool = False) -> list[BaseProcess]:
    """The same as forks of this process, in which nothing was trained; `work` may be any function."""
    return _started(get_context("fork"), work, processes, quiet)


def _started(context: Any, work: Callable[[], object], processes: int, quiet: bool) -> list[BaseProcess]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [context.Process(target=_one, args=(work, rank, processes, port, quiet)) for rank in range(processes)]
    for process in started:
        process.start()
    return started


def exit_codes(started: Sequence[BaseProcess], seconds: float = 240) -> list[int | None]:
    """Minus the number of a signal for those that it killed, None for those that still ran after `seconds`."""
    end = time.monotonic() + seconds
    for process in started:
        process.join(max(0, end - time.monotonic()))
    codes = [process.exitcode for process in started]
    for process in started:
        process.kill()
        process.join()
    return codes


def rank() -> int:
    """Of the process that asks."""
    return int(os.environ["RANK"])


def _one(work: Callable[[], object], rank: int, processes: int, port: int, quiet: bool) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "forks",
    }  # fmt: skip
    prepare_environment()
    torch.set_num_threads(1)  # the threads of the parent did not survive the fork
    if quiet:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for said in (1, 2):
            os.dup2(nowhere, said)
    try:
        code = run_reporting_errors(work)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)  # without what the parent would do at its end
