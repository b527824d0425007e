"""Sources of captioned pictures."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import chain, compress, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from imagen.checks.worlds import World
from imagen.data.reading.example import Example as Example
from imagen.data.reading.example import OtherPicture as OtherPicture
from imagen.data.reading.example import Picture as Picture
from imagen.data.reading.example import RowFiles
from imagen.data.reading.problems import Fault, Problem, too_small
from imagen.errors import UserError
from imagen.files import fingerprint
from imagen.tensors import Size

Item = TypeVar("Item")


class Source(ABC):
    """Captioned pictures with random access. `source[i]` depends on i alone, so any process can read any row.

    Sources are copied to worker processes, so they hold no open files or locks.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name for error messages."""

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that, with the `files`, determine which picture each row holds; used in fingerprints."""
        return {"name": self.name}

    @property
    def world(self) -> World:
        """The set of pictures that this is a part of, for the records of what is trained on it. It is the same for all
        parts of a set, and where the set is moved or copied."""
        return World(self.name, type(self).__name__, fingerprint(self.identity))

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Example:
        """The picture (RGB, any size) with its captions.

        Raises:
            BadExampleError: if this row cannot be read.
        """

    @property
    def has_conditions(self) -> bool:
        """Whether every row has a picture to condition on, `Example.condition`."""
        return False

    @abstractmethod
    def captions_by_row(self) -> Iterable[tuple[str, ...]]:
        """The captions of every row. Reads no pictures."""

    def captions(self) -> Iterator[str]:
        """Every caption, duplicates included."""
        return chain.from_iterable(self.captions_by_row())

    @property
    def origin(self) -> "Source":
        """The source from which the rows are read: this one, unless it selects rows of another."""
        return self

    def origin_row(self, index: int) -> int:
        """The row of the origin that `index` stands for."""
        return index

    def where(self, index: int) -> str:
        """The name of a row for error messages."""
        return f"{self.name} row {index}"

    def at(self, resolution: int) -> "Source":
        """This source with pictures of `resolution` pixels per side, if it draws them; unchanged if it reads them."""
        del resolution
        return self

    def files(self) -> Iterable[Path]:
        """The picture files, in order; empty if pictures are drawn or not on this disk."""
        return ()

    def row_files(self, index: int) -> RowFiles:
        """The files of a row as they are, not decoded; their headers are read.

        Raises:
            UserError: if there are none, because pictures are drawn; BadExampleError: if this row cannot be read.
        """
        raise UserError(
            f"{self.name}: pictures are drawn, not read from files; choose data=image_folder, hub or webdataset"
        )

    def embeddings(self, index: int) -> bytes | None:
        """The file of embedded captions beside a row (`imagen.text.rows`); None where the source reads none."""
        del index
        return None

    def sizes(self) -> Iterable[Size | Problem]:
        """The size of the picture of every row, or why it cannot be read, without decoding it; nothing at all if sizes
        are not known before.

        Faults that only decoding reveals (a truncated file) are found by `__getitem__`.
        """
        return ()

    def problems(self, min_side: int) -> Iterator[Problem]:
        """Every row that cannot be read or has fewer than `min_side` pixels along a side, judged by `sizes`."""
        for index, size in enumerate(self.sizes()):
            if isinstance(size, Problem):
                yield size
            elif min(size) < min_side:
                text = f"{self.where(index)}: {too_small(size, (min_side, min_side))}"
                yield Problem(self.origin_row(index), Fault.SMALL, text)


class _Selection(Source):
    """Some rows of another source, chosen by their index."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def identity(self) -> dict[str, Any]:
        settings = {name: value for name, value in vars(self).items() if name != "source"}
        return {"selection": type(self).__name__, **settings, "of": self.source.identity}

    @property
    def world(self) -> World:
        return self.source.world

    @property
    def has_conditions(self) -> bool:
        return self.source.has_conditions

    def where(self, index: int) -> str:
        return self.source.where(self.row(index))

    @abstractmethod
    def row(self, index: int) -> int:
        """The row of the other source."""

    @abstractmethod
    def select(self, rows: Iterable[Item]) -> Iterator[Item]:
        """The items of the selected rows, from an iterable with one item for each row of the other source."""

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

    def sizes(self) -> Iterator[Size | Problem]:
        return self.select(self.source.sizes())


class EveryNth(_Selection):
    """Rows 0, n, 2n, …, held out for validation. They stay the same when rows are appended to the source.

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
            raise UserError(f"{source.name} has {len(source)} row: after holding out one, nothing is left to train on")

    def __len__(self) -> int:
        return len(self.source) - -(-len(self.source) // self.n)

    def row(self, index: int) -> int:
        return index + index // (self.n - 1) + 1

    def select(self, rows: Iterable[Item]) -> Iterator[Item]:
        return (row for index, row in enumerate(rows) if index % self.n)


class First(_Selection):
    """The first `count` rows: with `batch_size=count` every batch holds the same pictures (`debug=overfit`).

    Raises:
        UserError: if the source has fewer rows.
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
    """The rows with the indices `rows`, in ascending order."""

    def __init__(self, source: Source, rows: Sequence[int] | np.ndarray) -> None:
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
        chosen = np.zeros(len(self.source), bool)
        chosen[self._rows] = True
        return compress(rows, chosen)


class EveryCaption:
    """The captions of some sources, as often as they are asked for: they are read again, not held."""

    def __init__(self, *sources: Source) -> None:
        self.sources = sources

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(source.captions() for source in self.sources)


def _checked_n(n: int) -> int:
    if n < 2:
        raise UserError(f"data.train.n={n}: every n-th row is held out for validation, so n must be at least 2")
    return n
