"""Further processes on this machine that make blocks of the same evaluation."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from imagen.commandline.command import prepare_environment
from imagen.concurrency.processes import begin_helper, threads_each
from imagen.instantiation import resolved
from imagen.plugins import using_plugins

log = logging.getLogger(__name__)


@contextmanager
def helping_processes(config: DictConfig) -> Iterator[None]:
    """`config.processes` - 1 processes make blocks of the evaluation in `config.out` while the body runs.

    They share the blocks by their locks, like processes started by hand. The threads of this process are divided among
    all of them and restored afterwards: the last digits of a matrix square root depend on the number of threads. If a
    process dies, the others make its blocks.
    """
    count = config.processes
    threads_before = torch.get_num_threads()
    threads = threads_each(count)
    torch.set_num_threads(threads)
    settings = resolved(config)
    context = get_context("spawn")
    helpers = [
        context.Process(target=help_evaluation, args=(settings, number, threads), daemon=True)
        for number in range(1, count)
    ]
    for helper in helpers:
        helper.start()
    try:
        yield
    except BaseException:
        for helper in helpers:
            helper.terminate()
        raise
    finally:
        torch.set_num_threads(threads_before)
    for number, helper in enumerate(helpers, start=2):
        helper.join()
        if helper.exitcode:
            log.warning(
                "process %d of %d ended with code %s; the others made its blocks", number, count, helper.exitcode
            )


def help_evaluation(settings: dict[str, Any], number: int, threads: int) -> None:
    """The work of process `number`: all of the evaluation but the report, without output, on GPU `number` if any."""
    from imagen.sampling.curves import make_plan
    from imagen.sampling.evaluation import make_evaluation

    begin_helper(number, threads)
    prepare_environment()
    config = OmegaConf.create(settings)
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        using_plugins(config.plugins),
    ):
        make_evaluation(config).make(make_plan(config))
