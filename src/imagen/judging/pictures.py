"""The captioned pictures of a source, read once and kept in memory."""

from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from imagen.data.module import BadPictures
from imagen.data.reading.problems import BadExampleError, Fault, Problem, refusal
from imagen.data.source import Picture, Source
from imagen.data.transforms import Geometry, TooSmallError
from imagen.errors import UserError
from imagen.progress import track
from imagen.tensors import Pixels

Rows = Int64[Tensor, "batch"]
"""Numbers of pictures."""


@dataclass(frozen=True)
class CaptionedPictures:
    """Square pictures, the captions of each, and the probability of each caption (none: all alike)."""

    pixels: Pixels
    captions: list[tuple[str, ...]]
    weights: list[tuple[float, ...]]

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def first_captions(self) -> list[str]:
        return [captions[0] for captions in self.captions]


def read_pictures(
    source: Source, use: str, side: int, geometry: Geometry, bad: BadPictures, most: int
) -> CaptionedPictures:
    """The pictures of `source`, `side` pixels per side; of more than `most` rows, so many that are evenly spread.

    Raises:
        UserError: for unusable rows that `bad` does not allow, or if no row is left. `use` says in messages what the
            pictures are for.
    """
    source, geometry = source.at(side), geometry.fixed()
    rows = range(len(source)) if len(source) <= most else np.linspace(0, len(source) - 1, most).astype(int).tolist()
    squares: list[Picture] = []
    captions: list[tuple[str, ...]] = []
    weights: list[tuple[float, ...]] = []
    problems: list[Problem] = []
    allowed = bad.allowed(source)
    for row in track(rows, f"reading pictures for {use}"):
        try:
            example = source[row]
            squares.append(geometry(example.image, side, key=0))
            captions.append(example.captions)
            weights.append(example.weights)
        except BadExampleError as error:
            problems.append(Problem(source.origin_row(row), error.fault, str(error)))
        except TooSmallError as error:
            if not bad.skip_small:
                problems.append(Problem(source.origin_row(row), Fault.SMALL, f"{source.where(row)}: {error}"))
        if len(problems) > allowed:
            raise UserError(refusal(source.name, problems, len(source), allowed))
    if not squares:
        raise UserError(f"{source.name}: no picture for {use}")
    return CaptionedPictures(torch.from_numpy(np.stack(squares)), captions, weights)


class CaptionNumbers:
    """The captions of some pictures as numbers: which is drawn, and whose it may be, are then questions of tensors."""

    def __init__(self, pictures: CaptionedPictures) -> None:
        numbers = {text: number for number, text in enumerate(dict.fromkeys(chain.from_iterable(pictures.captions)))}
        most = max(map(len, pictures.captions))
        # A picture with fewer captions than others has its first one several times.
        padded = [[*texts, *[texts[0]] * (most - len(texts))] for texts in pictures.captions]
        self._numbers = torch.tensor([[numbers[text] for text in texts] for texts in padded])
        reached = [
            list(accumulate(weights or [1 / len(texts)] * len(texts)))[: len(texts) - 1]
            for texts, weights in zip(pictures.captions, pictures.weights, strict=True)
        ]
        self._reached = torch.tensor([[*sums, *[2.0] * (most - 1 - len(sums))] for sums in reached])

    @property
    def distinct(self) -> int:
        return int(self._numbers.max()) + 1

    def draw(self, rows: Rows, generator: torch.Generator) -> Rows:
        """For each picture the place of one of its captions among them, drawn by their probabilities."""
        return (torch.rand(len(rows), 1, generator=generator) >= self._reached[rows]).sum(1)

    def may_fit(self, rows: Rows, drawn: Rows) -> Bool[Tensor, "batch batch"]:
        """[i, j]: whether caption `drawn[j]` of picture `rows[j]` is also one of picture `rows[i]`."""
        texts = self._numbers[rows, drawn]
        return (self._numbers[rows][:, None, :] == texts[None, :, None]).any(-1)
