import os
import signal
from functools import partial

import pytest

from imagen.concurrency.processes import results
from imagen.errors import UserError


def doubled(number: int, tick) -> tuple[int, int]:
    tick()
    tick()
    return 2 * number, os.getpid()


def doubled_unless(fatal: int, number: int, tick) -> int:
    if number == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return doubled(number, tick)[0]


def refused(number: int, tick) -> int:
    raise UserError(f"no {number}")


@pytest.mark.parametrize("processes", [1, 3])
def test_every_task_is_done_once_by_that_many_processes(processes):
    ticks: list[None] = []
    found = list(results(doubled, range(30), processes, lambda: ticks.append(None)))
    assert sorted(number for number, _ in found) == list(range(0, 60, 2))
    assert len(ticks) == 60
    others = {process for _, process in found} - {os.getpid()}
    assert len(others) <= processes if processes > 1 else not others


def test_tasks_are_made_when_a_process_is_free():
    asked: list[int] = []
    tasks = (asked.append(number) or number for number in range(1000))
    done = results(doubled, tasks, 2, lambda: None)
    next(done)
    assert len(asked) <= 4
    done.close()


def test_a_killed_process_is_told_after_what_the_others_have_done():
    found: list[int] = []
    with pytest.raises(UserError, match=r"exit code -9\), perhaps for lack of memory") as error:
        found.extend(results(partial(doubled_unless, 1), range(100), 2, lambda: None))
    assert error.value.environment
    assert 2 not in found


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mistake_is_reported_as_it_was_made(processes):
    with pytest.raises(UserError, match=r"^no \d$"):
        list(results(refused, range(4), processes, lambda: None))
