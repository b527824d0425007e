"""The captioned pictures of a source, read once and kept in memory."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from imagen.data.module import BadPictures
from imagen.data.reading.problems import Fault, Problem, refusal
from imagen.data.source import BadExampleError, Picture, Source
from imagen.data.transforms import Geometry, TooSmallError
from imagen.errors import UserError
from imagen.progress import track
from imagen.randomness import derive_seed
from imagen.tensors import Pixels


@dataclass(frozen=True)
class CaptionedPictures:
    """Square pictures, and the captions of each."""

    pixels: Pixels
    captions: list[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def first_captions(self) -> list[str]:
        return [captions[0] for captions in self.captions]


def read_pictures(
    source: Source, use: str, side: int, geometry: Geometry, bad: BadPictures, most: int
) -> CaptionedPictures:
    """Pictures of `side` pixels of the rows of `source`, evenly spread where there are more than `most`.

    Raises:
        UserError: for unusable rows that `bad` does not allow; `use` says in the messages what the pictures are for.
    """
    source = source.at(side)
    rows = range(len(source)) if len(source) <= most else np.linspace(0, len(source) - 1, most).astype(int).tolist()
    squares: list[Picture] = []
    captions: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for row in track(rows, f"reading pictures for {use}"):
        try:
            example = source[row]
            squares.append(geometry(example.image, side, derive_seed("judge-pictures", row)))
            captions.append(example.captions)
        except BadExampleError as error:
            problems.append(Problem(source.origin_row(row), error.fault, str(error)))
        except TooSmallError as error:
            if not bad.skip_small:
                problems.append(Problem(source.origin_row(row), Fault.SMALL, f"{source.where(row)}: {error}"))
        if len(problems) > bad.allowed(source):
            raise UserError(refusal(source.name, problems, len(source), bad.allowed(source)))
    if not squares:
        raise UserError(f"{source.name}: no picture for {use}")
    return CaptionedPictures(torch.from_numpy(np.stack(squares)), captions)


class Numbered:
    """The captions of some pictures as numbers, to see in a batch which picture may fit another's caption."""

    def __init__(self, captions: list[tuple[str, ...]]) -> None:
        numbers = {caption: number for number, caption in enumerate(dict.fromkeys(chain.from_iterable(captions)))}
        most = max(map(len, captions))
        # A picture with fewer captions has its first one several times.
        self._numbers = torch.tensor(
            [[numbers[c] for c in row] + [numbers[row[0]]] * (most - len(row)) for row in captions]
        )

    def may_fit(self, rows: Int64[Tensor, "batch"], drawn: Int64[Tensor, "batch"]) -> Bool[Tensor, "batch batch"]:
        """[i, j]: whether caption `drawn[j]` of picture `rows[j]` is also one of picture `rows[i]`."""
        texts = self._numbers[rows, drawn]
        return (self._numbers[rows][:, None, :] == texts[None, :, None]).any(-1)
