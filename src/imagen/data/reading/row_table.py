"""The rows of metadata files, packed: a row is made when it is asked for, so millions cost the bytes of their texts."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from imagen.data.reading.captions import Captions


@dataclass(frozen=True, slots=True)
class Row:
    """A picture (path relative to the folder), its captions, and the metadata file and line that list it; and the
    picture to condition on, if one is asked for."""

    file_name: str
    captions: Captions
    metadata: str
    line: int
    condition: str | None = None


class Texts:
    """A growing list of texts, as the bytes of all and the place where each ends."""

    def __init__(self) -> None:
        self._bytes, self._ends = bytearray(), array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, text: str) -> None:
        """Add a text."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return self._bytes[start : self._ends[index]].decode("utf-8", "surrogatepass")


class RowTable(Sequence[Row]):
    """Rows in order. `row` i is `table[i]`; none can be changed.

    Args:
        with_conditions: whether every row has a picture to condition on.
    """

    def __init__(self, with_conditions: bool) -> None:
        self.metadata: list[str] = []
        self._file, self._line = array("l"), array("q")
        self._names, self._texts, self._conditions = Texts(), Texts(), Texts() if with_conditions else None
        self._weights, self._text_ends, self._weight_ends = array("d"), array("q"), array("q")

    def append(self, row: Row) -> None:
        """Add a row."""
        if not self.metadata or self.metadata[-1] != row.metadata:
            self.metadata.append(row.metadata)
        self._file.append(len(self.metadata) - 1)
        self._line.append(row.line)
        self._names.append(row.file_name)
        for text in row.captions.texts:
            self._texts.append(text)
        self._weights.extend(row.captions.weights)
        self._text_ends.append(len(self._texts))
        self._weight_ends.append(len(self._weights))
        if self._conditions is not None:
            assert row.condition is not None
            self._conditions.append(row.condition)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        weights = self._weights[slice(*_ends(self._weight_ends, index))].tolist()
        captions = Captions(self.texts(index), tuple(weights))
        condition = None if self._conditions is None else self._conditions[index]
        return Row(self._names[index], captions, self.metadata[self._file[index]], self._line[index], condition)

    def texts(self, index: int) -> tuple[str, ...]:
        """The captions of a row."""
        return tuple(self._texts[number] for number in range(*_ends(self._text_ends, index)))

    def first_repeated(self) -> tuple[Row, Row] | None:
        """The first row that names a picture that a row before it names, after that row; None if there is none."""
        digests = bytearray()
        for index in range(len(self)):
            digests += hashlib.blake2b(self._names[index].encode("utf-8", "surrogatepass"), digest_size=16).digest()
        keys = np.frombuffer(digests, np.int64).reshape(-1, 2)
        order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal names the first comes first
        same = np.flatnonzero((keys[order[1:]] == keys[order[:-1]]).all(axis=1))
        if not len(same):
            return None
        later = int(order[same + 1].min())
        return self[int(order[same[order[same + 1] == later][0]])], self[later]


def _ends(ends: "array[int]", index: int) -> tuple[int, int]:
    """First place and the one after the last of what belongs to a row."""
    return (ends[index - 1] if index else 0), ends[index]
