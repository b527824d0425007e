"""Ctrl-C and termination end a command with one line, whatever it is doing and whoever handles KeyboardInterrupt."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """SIGINT or SIGTERM, whose `number` it holds. Not a KeyboardInterrupt, which Lightning turns into exit code 1.

    Who catches it and knows what is kept says so in `kept`, and raises it again.
    """

    kept = ""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, SIGINT and SIGTERM raise `Interrupted`; does nothing outside the main thread, which alone gets them.

    A training replaces this by saving first (`StopOnSignal`), and puts it back for a second signal.
    """
    here = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != here:  # a loader's worker, forked: it knows what to do on Ctrl-C
            raise KeyboardInterrupt
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
