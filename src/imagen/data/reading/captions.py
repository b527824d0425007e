"""The captions of a row: from which columns they come, and how often training draws each."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from imagen.checks.captions import checked_captions
from imagen.errors import UserError


@dataclass(frozen=True)
class Captions:
    """The captions of one picture, and the probability with which training draws each; no weights: all alike."""

    texts: tuple[str, ...]
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class CaptionColumns:
    """The columns that hold captions, and the weight of each. Validation takes the first caption of the first column.

    A column that holds a list shares its weight among the captions of the list. A column that is absent, null, empty or
    blank in a row leaves its weight to the others of that row. A row whose columns are all blank trains without text.
    """

    weights: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, weights: Any, known: Collection[str] | None = None) -> "CaptionColumns":
        """The columns of a configuration: {name of a column: weight}.

        Raises:
            UserError: if there is none, one is not among the `known`, or a weight is not a positive number.
        """
        if not isinstance(weights, Mapping) or not weights:
            raise UserError(
                f"caption_columns={weights!r:.80} must name at least one column and its weight, such as {{text: 0.8, "
                "keywords: 0.2}"
            )
        for column, weight in weights.items():
            if known is not None and column not in known:
                raise UserError(f"caption_columns: there is no column {column!r}; choose among {', '.join(known)}")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise UserError(f"caption_columns.{column}={weight}: a weight must be a positive number")
        return cls(tuple((column, float(weight)) for column, weight in weights.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, the one that validation reads first."""
        return tuple(name for name, _ in self.weights)

    def read(self, record: Mapping[str, Any], where: str) -> Captions:
        """The captions of a row.

        Raises:
            UserError: naming `where`, if a caption is not valid text, or the row has none of the columns.
        """
        texts: list[str] = []
        weights: list[float] = []
        for column, weight in self.weights:
            found = _filled(record.get(column), f"{where}, {column}")
            texts += found
            weights += [weight / len(found) for _ in found]
        if not texts and all(record.get(column) is None for column in self.names):
            raise UserError(
                f"{where}: no caption in {', '.join(self.names)}; add one, or name another in caption_columns; for no "
                'caption write ""'
            )
        if not texts:
            return Captions(("",))
        total = sum(weights)
        return Captions(tuple(texts), tuple(weight / total for weight in weights))


@dataclass(frozen=True)
class OneColumn:
    """One column of captions, or of lists of captions that training draws alike.

    `weights` names another column, with a list of how often training draws each caption of the row; where a row has
    none, all alike.
    """

    name: str
    weights: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, record: Mapping[str, Any], where: str) -> Captions:
        """The captions of a row that has the column. Raises UserError naming `where` if one is not valid text, or its
        weights are not one positive number for each that sum to 1."""
        texts = checked_captions(record[self.name], where)
        given = record.get(self.weights) if self.weights else None
        return Captions(texts, _checked_weights(given, len(texts), f"{where}, {self.weights}") if given else ())


def caption_columns(column: str, weights: Any) -> CaptionColumns | OneColumn:
    """What a source reads: `column`, or the columns of `weights` if they are given. Raises UserError as
    `CaptionColumns.of`."""
    return OneColumn(column) if weights is None else CaptionColumns.of(weights)


def _filled(value: Any, where: str) -> list[str]:
    """The captions of a column that say something."""
    if value is None or (isinstance(value, list | tuple) and not value):
        return []
    return [caption for caption in checked_captions(value, where) if caption.strip()]


def _checked_weights(value: Any, count: int, where: str) -> tuple[float, ...]:
    numbers = isinstance(value, list) and all(isinstance(one, float) and 0 < one <= 1 for one in value)
    if not numbers or len(value) != count or abs(sum(value) - 1) > 1e-6:
        raise UserError(f"{where}: {value!r:.80} is not one weight for each of {count} captions, with the sum 1")
    return tuple(value)
