"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from imagen.checks.names import printable

if TYPE_CHECKING:
    from rich.progress import Progress

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
    from rich.markup import escape

    with _progress() as bar:
        task = bar.add_task(escape(description), total=total)
        yield lambda: bar.advance(task)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(show_speed=True))
    return Progress(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=Console(stderr=True))


@dataclass
class Batches:
    """How far work in batches is: pictures that are finished, and evaluations within the batch under way. Each of its
    methods calls `show` with it."""

    description: str
    total: int
    finished: int
    show: Callable[["Batches"], object]
    pictures: int = 0
    """In the batch under way."""
    evaluations: int = 0
    evaluated: int = 0

    def begin(self, pictures: int, evaluations: int) -> None:
        """A batch of `pictures` begins, which takes so many `evaluations`."""
        self.pictures, self.evaluations, self.evaluated = pictures, evaluations, 0
        self.show(self)

    def evaluate(self) -> None:
        """One evaluation of the batch is done."""
        self.evaluated += 1
        self.show(self)

    def finish(self) -> None:
        """The batch is done, and its pictures are saved."""
        self.finished += self.pictures
        self.show(self)

    def __str__(self) -> str:
        within = f", evaluation {self.evaluated}/{self.evaluations} of the next {self.pictures}"
        return f"{self.description}: {self.finished}/{self.total}" + (within if self.finished < self.total else "")


@contextmanager
def counting_batches(description: str, total: int, finished: int) -> Iterator[Batches]:
    """To be told of each batch and each evaluation in it. Shown on standard error: how many of `total` pictures are
    finished, of which `finished` were before, and how far the batch under way is."""
    description = printable(description)
    if sys.stderr.isatty():
        with _bars(description, total, finished) as show:
            yield Batches(description, total, finished, show)
        return
    started = shown = time.monotonic()

    def line(batches: Batches) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES or batches.finished == total:
            shown = now
            print(f"{batches} in {now - started:.0f} s", file=sys.stderr, flush=True)

    yield Batches(description, total, finished, line)


@contextmanager
def _bars(description: str, total: int, finished: int) -> Iterator[Callable[[Batches], object]]:
    """One bar for the pictures, one for the batch under way."""
    from rich.markup import escape

    with _progress() as bars:
        pictures = bars.add_task(escape(description), total=total, completed=finished)
        batch = bars.add_task("  evaluations of this batch", total=None)

        def show(batches: Batches) -> None:
            bars.update(pictures, completed=batches.finished)
            bars.update(batch, completed=batches.evaluated, total=batches.evaluations)

        yield show
