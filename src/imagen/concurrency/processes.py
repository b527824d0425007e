"""Work that several processes of this machine share."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, Generic, TypeVar

from imagen.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

Tick = Callable[[], None]
Work = Callable[[Task, Tick], Result]
"""Does one task; calls the tick after each piece of it."""


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_each(processes: int) -> int:
    """Number of cores for each of so many processes that train on this machine. As tasks of SLURM they have cores of
    their own; otherwise they share those that this one may use."""
    as_tasks = os.environ.get("SLURM_NTASKS_PER_NODE") == str(processes)
    return cores() if as_tasks else max(1, cores() // processes)


def threads_each(count: int) -> int:
    """Number of threads for each of `count` processes: its share of those that PyTorch would use here."""
    import torch

    return max(1, torch.get_num_threads() // count)


def begin_helper(number: int, threads: int) -> None:
    """What a process that helps another one does first.

    It takes its share of the threads, and GPU `number` if there are any. Ctrl-C is left to its parent, and it ends when
    the parent has ended, however that came about: a parent that is killed terminates nobody.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def results(work: Work[Task, Result], tasks: Iterable[Task], processes: int, tick: Tick) -> Iterator[Result]:
    """The result of every task, as soon as it is ready. With one process, this one does the work.

    Tasks are made one at a time, when a process is free. If one fails or is killed, the others finish what they have
    begun, and the error comes after their results. `work`, tasks and results must be picklable.

    Raises:
        UserError: as `work`; or if a process was killed.
    """
    if processes == 1:
        yield from (work(task, tick) for task in tasks)
        return
    crew = _Crew(work, processes)
    try:
        yield from crew.results(iter(tasks), tick)
    finally:
        crew.end()


@dataclass(frozen=True)
class _Done:
    result: Any


@dataclass(frozen=True)
class _Failed:
    error: UserError


class _Crew(Generic[Task, Result]):
    """Processes that wait for tasks, each at one end of a pipe. A helper answers a task with any number of `None`, for
    each piece of the work, and then with what came of it."""

    def __init__(self, work: Work[Task, Result], count: int) -> None:
        context = get_context("spawn")  # a forked process cannot use CUDA
        self._helpers: dict[Connection, BaseProcess] = {}
        for number in range(count):
            ours, theirs = context.Pipe()
            helper = context.Process(target=_help, args=(work, theirs, number, threads_each(count)), daemon=True)
            self._helpers[ours] = helper
            helper.start()
            theirs.close()  # the helper has its own: when that is closed too, it has ended

    def results(self, tasks: Iterator[Task], tick: Tick) -> Iterator[Result]:
        free, busy = list(self._helpers), list[Connection]()
        error: UserError | None = None
        while True:
            while free and error is None and (task := next(tasks, None)) is not None:
                busy.append(free.pop())
                with suppress(BrokenPipeError):  # it was killed, which its missing answer will tell
                    busy[-1].send(task)
            if not busy:
                break
            for helper in self._with_answers(busy):
                answer = self._answer(helper)
                if answer is None:
                    tick()
                    continue
                busy.remove(helper)
                if isinstance(answer, _Failed):
                    error = error or answer.error
                else:
                    free.append(helper)
                    yield answer.result
        if error is not None:
            raise error

    def end(self) -> None:
        for connection, helper in self._helpers.items():
            connection.close()
            helper.terminate()
        for helper in self._helpers.values():
            helper.join()

    def _with_answers(self, busy: list[Connection]) -> list[Connection]:
        ready = wait(busy)
        return [helper for helper in busy if helper in ready]

    def _answer(self, helper: Connection) -> _Done | _Failed | None:
        try:
            return helper.recv()
        except (EOFError, ConnectionResetError):
            process = self._helpers[helper]
            process.join()
            return _Failed(
                UserError(
                    f"a process that helped was killed or failed (exit code {process.exitcode}), perhaps for lack of "
                    "memory; start again, with fewer processes: what was finished is kept",
                    environment=True,
                )
            )


def _help(work: Work[Task, Result], tasks: Connection, number: int, threads: int) -> None:
    begin_helper(number, threads)
    while True:
        try:
            task = tasks.recv()
        except EOFError:
            return
        try:
            answer = _Done(work(task, lambda: tasks.send(None)))
        except UserError as error:
            answer = _Failed(error)
        tasks.send(answer)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "this process is a helper's"
    parent.join()
    os._exit(1)
