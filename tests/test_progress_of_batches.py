"""Progress of long work on standard error."""

import sys

import pytest

import imagen.progress
from imagen.progress import counting_batches


@pytest.fixture
def clock(monkeypatch):
    """clock.now, in seconds."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(imagen.progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_lines_tell_pictures_and_evaluations_every_ten_seconds_and_at_the_end(clock, capsys):
    with counting_batches("sampling", 10, 4) as batches:
        for _ in range(2):
            batches.begin(3, 2)
            for _ in range(2):
                clock.now += 6
                batches.evaluate()
            batches.finish()
    assert capsys.readouterr().err.splitlines() == [
        "sampling: 4/10, evaluation 2/2 of the next 3 in 12 s",
        "sampling: 7/10, evaluation 2/2 of the next 3 in 24 s",
        "sampling: 10/10 in 24 s",
    ]


def test_a_terminal_gets_a_bar_of_pictures_and_one_of_evaluations(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with counting_batches("[red]sampling", 4, 1) as batches:
        batches.begin(3, 5)
        batches.evaluate()
        batches.finish()
    shown = capsys.readouterr().err
    assert "[red]sampling" in shown
    assert "100%" in shown
    assert "evaluations of this batch" in shown
    assert "20%" in shown
