"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from imagen.checks.names import printable

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` and report on standard error how many of `total` are done."""
    description = printable(description)
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import track as bar

        yield from bar(items, escape(description), total=total, console=Console(stderr=True))
        return
    started = reported = time.monotonic()
    for done, item in enumerate(items):
        yield item
        now = time.monotonic()
        if now - reported >= SECONDS_BETWEEN_LINES or done + 1 == total:
            reported = now
            print(f"{description}: {done + 1}/{total or '?'} in {now - started:.0f} s", file=sys.stderr, flush=True)
