"""The plan of a sweep: curves, each a way to sample, at the same guidance weights or at weights of their own.

A curve fixes everything except one guidance weight: thresholding, sampler, noise on the smaller image, the guidance
weights of other stages, checkpoint. The points of a curve differ in that weight alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from imagen.diffusion.guidance import LARGEST_WEIGHT
from imagen.errors import UserError
from imagen.evaluation.judges.extractor import Judge
from imagen.evaluation.sweep.timing import Timed

LABEL = re.compile(r"[\w(][\w .,:+=()-]*")
LONGEST_LABEL = 100
"""Bytes. Labels become parts of file names, which have at most 255 bytes."""


TAUGHT = "{} is the CLIP that stages were trained with: it is no judge of them"
"""What is said of a judge that `Plan.taught_by` names."""

SamplerFunction = Callable[..., Tensor | np.ndarray | Timed]
"""(captions, picture_ids, guidance_weight=) -> pictures, uint8 (n, height, width, 3): a cascade, as the sweep calls it.
`picture_ids[i]` and the seed of the cascade determine all noise of picture i, independent of the rest of the batch.
Pictures that are not `Timed` took the seconds of the call."""

Passes = Callable[[float], Mapping[str, int | None]]
"""(guidance weight) -> network passes for one picture, by stage; None where they are not known."""


@dataclass(frozen=True)
class Curve:
    """A way to sample, without one guidance weight. `identity`: plain values, everything that its pictures depend on
    besides captions, picture ids, the seed of the evaluation and that weight. `weights`: of this curve alone; None
    takes those of the plan. `passes`: what it costs; None if nobody knows. `clips`: sha256 of every CLIP whose vectors
    its stages were trained on."""

    sample: SamplerFunction
    identity: Mapping[str, Any]
    weights: Sequence[float | int] | None = None
    passes: Passes | None = None
    clips: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cell:
    """One point of a curve. `curve` is the curve's label."""

    curve: str
    guidance_weight: float

    @property
    def name(self) -> str:
        """A folder name, unique for each cell."""
        return f"{file_label(self.curve)}-w{self.guidance_weight!r}"


@dataclass(frozen=True)
class Plan:
    """Every curve at each of its weights.

    Args:
        curves: by label; a label is one or a few words (letters, digits, blanks and ``.,:+=()-``).
        weights: guidance weights in [0, LARGEST_WEIGHT], all different; 1 is no guidance. Of curves without their own.
        weight_of: the stage whose weight varies, for the axes of the plots.

    Raises:
        UserError: for invalid labels or weights, or if there are none.
    """

    curves: Mapping[str, Curve]
    weights: Sequence[float | int]
    weight_of: str = "base stage"

    def __post_init__(self) -> None:
        check_labels(list(self.curves))
        object.__setattr__(self, "weights", check_weights(list(self.weights)))
        for label in self.curves:
            self.weights_of(label)

    def weights_of(self, label: str) -> list[float]:
        """The weights of a curve, ascending."""
        own = self.curves[label].weights
        return check_weights(list(self.weights if own is None else own), f"guidance.curves.{label}.weights")

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, curve by curve, each by ascending weight."""
        return [Cell(label, weight) for label in self.curves for weight in self.weights_of(label)]

    @property
    def identities(self) -> dict[str, dict[str, Any]]:
        """The identity of each curve, by label."""
        return {label: dict(curve.identity) for label, curve in self.curves.items()}

    def taught_by(self, judges: Sequence[Judge]) -> list[str]:
        """Names of the judges that are the CLIP whose vectors stages were trained on: to them their pictures look
        better than they are."""
        clips = frozenset[str]().union(*(curve.clips for curve in self.curves.values()))
        return [judge.name for judge in judges if judge.clip_sha256 in clips]


def neighbours(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Pairs of cells that are neighbours on a curve, by ascending weight."""
    pairs: list[tuple[Cell, Cell]] = []
    for label in dict.fromkeys(cell.curve for cell in cells):
        curve = sorted((cell for cell in cells if cell.curve == label), key=lambda cell: cell.guidance_weight)
        pairs += pairwise(curve)
    return pairs


def middle_and_ends(weights: Sequence[float]) -> list[float]:
    """The lowest, the middle and the highest weight, without duplicates."""
    ordered = sorted(weights)
    return list(dict.fromkeys([ordered[0], ordered[len(ordered) // 2], ordered[-1]]))


def file_label(label: str) -> str:
    """The label of a curve as part of a file name."""
    return label.replace(" ", "_")


def check_labels(labels: Sequence[str], where: str = "guidance.curves") -> None:
    """Raise UserError unless there is a label and all are valid, different file names, also where case is ignored."""
    if not labels:
        raise UserError(f"{where} is empty; give at least one, e.g. dynamic")
    for label in labels:
        if not is_label(label):
            raise UserError(
                f"{where}: the label {label!r:.120} cannot name a file; use at most {LONGEST_LABEL} bytes of letters, "
                "digits, blanks and .,:+=()-"
            )
    files = [file_label(label).casefold() for label in labels]
    for label, file in zip(labels, files, strict=True):
        if files.count(file) > 1:
            raise UserError(f"{where}: two labels name the file {file_label(label)!r}; change one of them")


def is_label(value: object) -> bool:
    """Whether `value` can be the label of a curve."""
    return isinstance(value, str) and LABEL.fullmatch(value) is not None and len(value.encode()) <= LONGEST_LABEL


def check_weights(weights: Sequence[Any], where: str = "guidance.weights") -> list[float]:
    """The weights in ascending order. Raises UserError, which begins with `where` if there are none, unless there is at
    least one, and all are different and in [0, LARGEST_WEIGHT]."""
    if not weights:
        raise UserError(f"{where} is empty; give at least one weight, e.g. [1, 3]")
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= LARGEST_WEIGHT:
            raise UserError(
                f"guidance weight {weight!r:.60} is not a finite number of 0 or more (1 is no guidance), at most "
                f"{LARGEST_WEIGHT:g}"
            )
    values = sorted(float(weight) for weight in weights)
    for one, other in pairwise(values):
        if one == other:
            raise UserError(f"guidance weight {one:g} is given twice")
    return values
