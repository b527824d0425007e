"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from imagen.checks.names import printable

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items`, showing on standard error how many of `total` are done."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with counting(description, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def counting(description: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A function to call after each piece of the work; how many of `total` are done is shown on standard error."""
    description = printable(description)
    if sys.stderr.isatty():
        with _bar(description, total) as advance:
            yield advance
        return
    started = shown = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, shown
        done += 1
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES or done == total:
            shown = now
            print(f"{description}: {done}/{total or '?'} in {now - started:.0f} s", file=sys.stderr, flush=True)

    yield advance


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(show_speed=True))
    with Progress(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=Console(stderr=True)) as bar:
        task = bar.add_task(escape(description), total=total)
        yield lambda: bar.advance(task)
