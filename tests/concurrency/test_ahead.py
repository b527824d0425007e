import multiprocessing
import os
import subprocess
import sys
import time
from itertools import count, islice
from threading import Lock, Thread, active_count, current_thread, main_thread

import pytest
import torch

from imagen.concurrency.ahead import Waiting, made_ahead

FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_items_come_in_order_and_once(ahead):
    assert list(made_ahead(iter(range(50)), ahead, Waiting())) == list(range(50))


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_is_raised_in_its_place(ahead):
    items = made_ahead((6 // number for number in (1, 2, 0, 3)), ahead, Waiting())
    assert [next(items), next(items)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(items)


@pytest.mark.parametrize(("ahead", "made"), [(0, 1), (1, 3), (3, 5)])
def test_no_more_is_made_than_is_asked_for(ahead, made):
    """One is asked for, `ahead` wait, and one more is ready to take the first free place."""
    begun: list[int] = []
    items = made_ahead(map(begun.append, count()), ahead, Waiting())
    next(items)
    end = time.monotonic() + 10
    while len(begun) < made and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(begun) == made
    items.close()


def test_only_a_thread_of_its_own_makes_items_ahead_and_it_ends_with_the_iterator():
    before = active_count()
    items = made_ahead((current_thread() for _ in count()), 2, Waiting())
    assert next(items) is not main_thread()
    assert active_count() == before + 1
    items.close()
    assert active_count() == before
    assert next(made_ahead((current_thread() for _ in count()), 0, Waiting())) is main_thread()


def test_it_takes_one_core_and_leaves_the_others_their_threads():
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(3)
    items = made_ahead((torch.get_num_threads() for _ in count()), 1, Waiting())
    try:
        assert next(items) == 1
        other = Thread(target=lambda: found.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert [*found, torch.get_num_threads()] == [3, 3]
    finally:
        items.close()
        torch.set_num_threads(before)


def test_it_ends_with_the_program():
    program = "from imagen.concurrency.ahead import *; items = made_ahead(iter(range(9)), 2, Waiting()); next(items)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_what_the_caller_waits_is_counted_and_the_time_between_is_not():
    def slow():
        while True:
            time.sleep(0.05)
            yield 0

    waiting = Waiting()
    list(islice(made_ahead(slow(), 0, waiting), 4))
    assert waiting.seconds >= 0.2
    waiting = Waiting()
    items = made_ahead(slow(), 2, waiting)
    next(items)
    first = waiting.seconds
    for _ in range(3):
        time.sleep(0.2)
        next(items)
    assert first >= 0.05
    assert waiting.seconds - first < 0.05


def test_no_process_is_forked_while_the_thread_holds_locks():
    held = Lock()

    def locking():
        while True:
            with held:
                time.sleep(0.02)
            yield 0

    def child() -> None:
        os._exit(0 if held.acquire(timeout=5) else 1)

    items = made_ahead(locking(), 1, Waiting())
    for _ in range(10):
        next(items)  # so that the thread begins the next one
        time.sleep(0.005)
        process = FORK.Process(target=child)
        process.start()
        process.join(30)
        assert process.exitcode == 0
    items.close()
