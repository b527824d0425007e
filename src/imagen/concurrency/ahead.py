"""Iteration in which a thread makes the next items while the caller works on the last one."""

import os
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, RLock, Thread, main_thread
from typing import Generic, TypeVar

import torch

T = TypeVar("T")

SECONDS_BETWEEN_LOOKS = 0.1
"""How long a thread that has nothing to do takes to see that it is no longer wanted."""

_making = RLock()
"""Held while an item is made. No process is forked meanwhile: the child would keep the locks of that work for ever."""

os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


class Waiting:
    """How long a caller has waited for items."""

    seconds = 0.0


def made_ahead(items: Iterator[T], count: int, waiting: Waiting) -> Generator[T, None, None]:
    """The `items`, which a thread makes, at most `count` of them ahead; with 0 they are made when they are asked for.

    What making an item raises is raised in its place. The thread ends with this iterator, and with the program. On a
    GPU it works in a stream of its own, on the device that is current for the caller.
    """
    thread = _Maker(items, count) if count else None
    source = thread or items
    try:
        while True:
            begun = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                return
            waiting.seconds += time.perf_counter() - begun
            yield item
    finally:
        if thread is not None:
            thread.end()


@dataclass(frozen=True)
class _Made(Generic[T]):
    item: T


@dataclass(frozen=True)
class _Raised:
    error: BaseException


class _Maker(Iterator[T]):
    def __init__(self, items: Iterator[T], count: int) -> None:
        self._items = items
        self._made: Queue[_Made[T] | _Raised] = Queue(count)
        self._unwanted, self._begun = Event(), Event()
        device = torch.cuda.current_device() if torch.cuda.is_initialized() else None
        # Not a daemon: Python stops those in the middle of what they do, which can crash the process.
        self._thread = Thread(target=self._make_all, args=(device,), name="made ahead", daemon=False)
        self._thread.start()
        self._begun.wait()
        torch.set_num_threads(torch.get_num_threads())  # for threads that begin later, which follow the last to set it

    def __next__(self) -> T:
        outcome = self._made.get()
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome.item

    def end(self) -> None:
        self._unwanted.set()
        self._thread.join()

    def _make_all(self, device: int | None) -> None:
        torch.set_num_threads(1)  # of this thread: a second team of threads would slow the caller by a fifth
        self._begun.set()
        if device is not None:
            torch.cuda.set_device(device)
        with nullcontext() if device is None else torch.cuda.stream(torch.cuda.Stream(device)):
            while self._is_wanted() and self._put(outcome := self._make()) and isinstance(outcome, _Made):
                pass

    def _make(self) -> _Made[T] | _Raised:
        try:
            with _making:
                return _Made(next(self._items))
        except BaseException as error:  # whatever it is, the caller is told
            return _Raised(error)

    def _put(self, outcome: _Made[T] | _Raised) -> bool:
        """Whether it was still wanted."""
        while self._is_wanted():
            try:
                self._made.put(outcome, timeout=SECONDS_BETWEEN_LOOKS)
                return True
            except Full:
                continue
        return False

    def _is_wanted(self) -> bool:
        return main_thread().is_alive() and not self._unwanted.is_set()
