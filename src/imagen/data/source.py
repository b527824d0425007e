"""Where captioned pictures come from."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from imagen.data.reading.problems import Fault, Problem
from imagen.errors import UserError

Picture = UInt8[np.ndarray, "height width 3"]
"""One picture, RGB."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Example:
    """A picture with at least one caption, which may be empty. `id` is its row in the source it was read from."""

    image: Picture
    captions: tuple[str, ...]
    id: int

    @property
    def caption(self) -> str:
        """The first one."""
        return self.captions[0]


class BadExampleError(UserError):
    """One row of a source that cannot be used: unreadable, missing or too small. May be skipped within a limit."""

    def __init__(self, message: str, fault: Fault = Fault.DAMAGED) -> None:
        super().__init__(message)
        self.fault = fault


class Source(ABC):
    """Captioned pictures with random access. `source[i]` depends on i alone, so that any process may read any row.

    A source may be copied to worker processes: it holds no open files or locks.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What error messages call it."""

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values: what decides, with the `files`, which picture stands in which row; for fingerprints."""
        return {"name": self.name}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Example:
        """The picture, RGB of any size, with its captions.

        Raises:
            BadExampleError: if this row cannot be read.
        """

    @abstractmethod
    def captions_by_row(self) -> Iterable[tuple[str, ...]]:
        """The captions of every row, without reading a picture."""

    def captions(self) -> Iterator[str]:
        """Every caption, repeated or not."""
        return chain.from_iterable(self.captions_by_row())

    @property
    def origin(self) -> "Source":
        """The source that the rows are read from: this one, unless it selects from another."""
        return self

    def origin_row(self, index: int) -> int:
        """A row's place in the origin."""
        return index

    def where(self, index: int) -> str:
        """What error messages call a row."""
        return f"{self.name} row {index}"

    def at(self, resolution: int) -> "Source":
        """This source, its pictures `resolution` pixels wide if they are made and not read."""
        del resolution
        return self

    def files(self) -> Iterable[Path]:
        """The files that the pictures are read from, in order; none for pictures that are made or not on this disk."""
        return ()

    def problems(self, min_side: int) -> Iterator[Problem]:
        """Every row of the origin that cannot be read or is smaller than `min_side` pixels, found without decoding.

        What only decoding reveals (a truncated file) is left to `__getitem__`. Sources that make their pictures
        have no problems.
        """
        del min_side
        return iter(())


class _Selection(Source):
    """Some rows of another source, chosen by arithmetic on their index."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def identity(self) -> dict[str, Any]:
        settings = {name: value for name, value in vars(self).items() if name != "source"}
        return {"selection": type(self).__name__, **settings, "of": self.source.identity}

    def where(self, index: int) -> str:
        return self.source.where(self.row(index))

    @abstractmethod
    def row(self, index: int) -> int:
        """Row in the other source."""

    @abstractmethod
    def select(self, rows: Iterable[Item]) -> Iterator[Item]:
        """What belongs to the selection of something that there is one of for every row."""

    @property
    def origin(self) -> Source:
        return self.source.origin

    def origin_row(self, index: int) -> int:
        return self.source.origin_row(self.row(index))

    def __getitem__(self, index: int) -> Example:
        return self.source[self.row(index)]

    def captions_by_row(self) -> Iterator[tuple[str, ...]]:
        return self.select(self.source.captions_by_row())

    def at(self, resolution: int) -> "Source":
        other = copy(self)
        other.source = self.source.at(resolution)
        return other

    def files(self) -> Iterable[Path]:
        return self.source.files()

    def problems(self, min_side: int) -> Iterator[Problem]:
        # Of the whole source: the other part is about to be read as well.
        return self.source.problems(min_side)


class EveryNth(_Selection):
    """Rows 0, n, 2n, …: held out for validation. The same rows stay held out when rows are appended.

    Raises:
        UserError: if `n` is below 2.
    """

    def __init__(self, source: Source, n: int) -> None:
        super().__init__(source)
        self.n = _checked_n(n)

    def __len__(self) -> int:
        return -(-len(self.source) // self.n)

    def row(self, index: int) -> int:
        return index * self.n

    def select(self, rows: Iterable[Item]) -> Iterator[Item]:
        return islice(rows, 0, None, self.n)


class AllButEveryNth(_Selection):
    """The rows that `EveryNth` leaves for training.

    Raises:
        UserError: if `n` is below 2, or the source has a single row.
    """

    def __init__(self, source: Source, n: int) -> None:
        super().__init__(source)
        self.n = _checked_n(n)
        if len(source) < 2:
            raise UserError(f"{source.name} has {len(source)} row: nothing is left to train on after holding out one")

    def __len__(self) -> int:
        return len(self.source) - -(-len(self.source) // self.n)

    def row(self, index: int) -> int:
        return index + index // (self.n - 1) + 1

    def select(self, rows: Iterable[Item]) -> Iterator[Item]:
        return (row for index, row in enumerate(rows) if index % self.n)


class First(_Selection):
    """The first `count` rows: with `batch_size=count` every batch holds the same pictures (`debug=overfit`).

    Raises:
        UserError: if the source does not have as many.
    """

    def __init__(self, source: Source, count: int) -> None:
        super().__init__(source)
        if not 1 <= count <= len(source):
            raise UserError(f"cannot take the first {count} rows of {source.name}: it has {len(source)}")
        self.count = count

    def __len__(self) -> int:
        return self.count

    def row(self, index: int) -> int:
        return index

    def select(self, rows: Iterable[Item]) -> Iterator[Item]:
        return islice(rows, self.count)


class Rows(_Selection):
    """The rows that `rows` names, in rising order."""

    def __init__(self, source: Source, rows: Sequence[int]) -> None:
        super().__init__(source)
        self._rows = np.asarray(rows, np.int64)

    @property
    def identity(self) -> dict[str, Any]:
        rows = hashlib.sha256(self._rows.tobytes()).hexdigest()
        return {"selection": type(self).__name__, "rows_sha256": rows, "of": self.source.identity}

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> int:
        return int(self._rows[index])

    def select(self, rows: Iterable[Item]) -> Iterator[Item]:
        wanted = set(self._rows.tolist())
        return (row for index, row in enumerate(rows) if index in wanted)


def without(source: Source, rows: Collection[int]) -> Source:
    """A source without those of its rows that are `rows` of its origin; the source itself if there are none."""
    if not rows:
        return source
    return Rows(source, [index for index in range(len(source)) if source.origin_row(index) not in rows])


def _checked_n(n: int) -> int:
    if n < 2:
        raise UserError(f"data.train.n={n}: every n-th row is held out for validation, so n must be at least 2")
    return n
