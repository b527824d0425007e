"""Copied or composed: generated pictures beside the training pictures nearest to them.

What counts as a copy is read off real pictures that were not trained on, not fixed: see `TrainingSet.threshold`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from imagen.evaluation.results.matches import Match, Neighbour
from imagen.evaluation.statistics.jackknife import Interval, wilson
from imagen.evaluation.statistics.nearest import Neighbours, different, distances, nearest
from imagen.evaluation.sweep.blocks import Block
from imagen.evaluation.sweep.reference import Reference
from imagen.evaluation.sweep.thumbnails import stored_thumbnails

FALSE_ALARMS = 0.05
"""About the share of real pictures not trained on that the definition of a copy accuses wrongly."""

MOST_REAL = 2048
"""The reference's first pictures are compared with the training set, up to this number."""

FEWEST_REAL = 100
"""With fewer the limit is too uncertain, and nothing is called a copy. With 100 the true share of false alarms lies
between 2 and 11 %."""

SAME = 2 / 255
"""Root mean square difference up to which a real picture counts as equal to a training picture."""

SHOWN = 3
"""Training pictures shown beside a generated one."""

MOST_ALIKE = 6
"""Generated pictures shown as the most like a training picture."""


@dataclass(frozen=True)
class CopyNumbers:
    """How near the pictures of a cell are to training pictures. Rates have Wilson intervals; None: no picture to ask.

    `distance`: the median distance to the nearest training picture. `copies`: the share called a copy.
    `copies_of_others`: the share called a copy of a training picture that does not have the prompt as a caption.
    `own_caption`: of the `own_caption_of` pictures whose prompt is a caption of a training picture, or of a real one
    equal to it, the share whose nearest training picture has it. `unseen`: of the `unseen_of` pictures whose prompt is
    the caption of a real picture not trained on, the share nearer to that one than to any training picture.
    """

    pictures: int
    distance: float
    copies: Interval | None
    copies_of_others: Interval | None
    own_caption: Interval | None
    own_caption_of: int
    unseen: Interval | None
    unseen_of: int


@dataclass(frozen=True)
class Copies:
    """The comparison with the training set. By name of the cell: `numbers`, `neighbours` of every picture, and `shown`,
    the pictures of the grid prompts. `alike`: over all cells, the pictures most like a training picture, each prompt
    once. `real`: neighbours of the real pictures; `repeated` is true for those that are themselves in the training set.
    `missing`: cells whose blocks are of an earlier version and hold no thumbnails."""

    numbers: Mapping[str, CopyNumbers]
    neighbours: Mapping[str, Neighbours]
    shown: Mapping[str, Sequence[Match]]
    alike: Sequence[Match]
    real: Neighbours
    repeated: Bool[np.ndarray, "real"]
    threshold: float | None
    training_pictures: int
    different_pictures: int
    missing: Sequence[str] = ()

    @property
    def new(self) -> Neighbours:
        """Neighbours of the real pictures that are not in the training set."""
        return Neighbours(self.real.rows[~self.repeated], self.real.distances[~self.repeated])

    @property
    def false_alarms(self) -> Interval | None:
        """The share of the real pictures that are not in the training set called a copy; None if nothing is."""
        return None if self.threshold is None else _rate((self.new.ratios < self.threshold).tolist())


class TrainingSet:
    """Thumbnails of the training pictures and of real pictures that were not trained on.

    Args:
        training: pictures that were trained on.
        real: pictures that were not, in general: those equal to a training picture are found and set aside.
        resolution: of the generated pictures.
        folder: for the files of thumbnails, which are made if they are missing.

    Raises UserError for a picture that cannot be used, and for fewer than four different training pictures.
    """

    def __init__(self, training: Reference, real: Reference, resolution: int, folder: Path) -> None:
        self.training, self.real, self.resolution = training, real, resolution
        self.thumbnails = stored_thumbnails(training, training.count, resolution, folder, "training pictures")
        count = min(real.count, MOST_REAL)
        self.real_thumbnails = stored_thumbnails(real, count, resolution, folder, "real pictures")
        self.first_of = different(_rows(self.thumbnails))
        self.different = np.unique(self.first_of)
        self.of_real = self.search(self.real_thumbnails)
        self.repeated = self.of_real.nearest <= SAME

    @cached_property
    def threshold(self) -> float | None:
        """A picture is a copy if its ratio (`Neighbours.ratios`) is below this: about `FALSE_ALARMS` of the real
        pictures that were not trained on have such a ratio. Real pictures equal to a training picture do not count:
        they show how many pictures the two sets share, not how near a new picture may be. None if fewer than
        `FEWEST_REAL` are left."""
        ratios = self.of_real.ratios[~self.repeated]
        return float(np.quantile(ratios, FALSE_ALARMS)) if len(ratios) >= FEWEST_REAL else None

    @cached_property
    def captions(self) -> dict[int, list[str]]:
        """The captions of each different picture: those of all training pictures that look like it, and those of real
        ones. Whoever draws it for one of these captions, drew what was asked."""
        captions: dict[int, list[str]] = defaultdict(list)
        for first, texts in zip(self.first_of.tolist(), self.training.captions(), strict=True):
            captions[first] += texts
        equal = zip(self.real.captions(), self.repeated.tolist(), self.of_real.rows[:, 0].tolist(), strict=False)
        for texts, repeated, first in equal:
            captions[first] += texts if repeated else ()
        return captions

    @cached_property
    def known_captions(self) -> set[str]:
        return {text for texts in self.captions.values() for text in texts}

    @cached_property
    def unseen(self) -> dict[str, list[int]]:
        """By caption, the real pictures that are not in the training set."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, (texts, repeated) in enumerate(zip(self.real.captions(), self.repeated.tolist(), strict=False)):
            for text in () if repeated else texts:
                rows[text].append(row)
        return rows

    def search(self, thumbnails: UInt8[np.ndarray, "pictures side side 3"]) -> Neighbours:
        """The nearest different training pictures of each picture."""
        return nearest(_rows(thumbnails), _rows(self.thumbnails), self.different)

    def compare(self, blocks: Mapping[str, Block], texts: Sequence[str], shown: Sequence[str]) -> Copies:
        """The numbers of each cell, whose picture i shows `texts[i]`; kept pictures are shown for the cells `shown`."""
        small = {name: block.thumbnails.numpy() for name, block in blocks.items() if block.thumbnails is not None}
        found = {name: self.search(pictures) for name, pictures in small.items()}
        return Copies(
            numbers={name: self._numbers(small[name], found[name], texts) for name in small},
            neighbours=found,
            shown={
                name: [
                    self._match(name, text, picture, found[name], row)
                    for row, (text, picture) in enumerate(zip(texts, blocks[name].pictures.numpy(), strict=False))
                ]
                for name in shown
                if name in small
            },
            alike=self._most_alike(small, found, texts),
            real=self.of_real,
            repeated=self.repeated,
            threshold=self.threshold,
            training_pictures=self.training.count,
            different_pictures=len(self.different),
            missing=[name for name in blocks if name not in small],
        )

    def _numbers(self, small: np.ndarray, found: Neighbours, texts: Sequence[str]) -> CopyNumbers:
        own = [text in self.captions[row] for text, row in zip(texts, found.rows[:, 0].tolist(), strict=False)]
        known = [text in self.known_captions for text in texts[: len(own)]]
        copied = np.zeros(len(own), bool) if self.threshold is None else found.ratios < self.threshold
        unseen = self._nearer_to_unseen(small, found, texts)
        judged = self.threshold is not None
        return CopyNumbers(
            pictures=len(own),
            distance=float(np.median(found.nearest)),
            copies=_rate(copied.tolist()) if judged else None,
            copies_of_others=_rate((copied & ~np.array(own)).tolist()) if judged else None,
            own_caption=_rate([near for near, asked in zip(own, known, strict=True) if asked]),
            own_caption_of=sum(known),
            unseen=_rate(unseen),
            unseen_of=len(unseen),
        )

    def _nearer_to_unseen(self, small: np.ndarray, found: Neighbours, texts: Sequence[str]) -> list[bool]:
        """For each picture whose prompt is the caption of a real picture not trained on: whether it is nearer to it."""
        pairs = [(row, real) for row in range(len(small)) for real in self.unseen.get(texts[row], ())]
        if not pairs:
            return []
        rows, reals = np.array(pairs).T
        to_real = distances(_rows(small)[rows], _rows(self.real_thumbnails)[reals])
        nearer: dict[int, bool] = {}
        for row, distance in zip(rows.tolist(), to_real.tolist(), strict=True):
            nearer[row] = nearer.get(row, False) or distance < float(found.nearest[row])
        return list(nearer.values())

    def _most_alike(
        self, small: Mapping[str, np.ndarray], found: Mapping[str, Neighbours], texts: Sequence[str]
    ) -> list[Match]:
        ranked = sorted((ratio, name, row) for name, one in found.items() for row, ratio in enumerate(one.ratios))
        once: dict[int, tuple[str, int]] = {}
        for _, name, row in ranked:
            once.setdefault(row, (name, row))
        chosen = list(once.values())[:MOST_ALIKE]
        return [self._match(name, texts[row], small[name][row], found[name], row) for name, row in chosen]

    def _match(self, cell: str, text: str, picture: np.ndarray, found: Neighbours, row: int) -> Match:
        near = [
            Neighbour(self.training.picture(index, self.resolution), tuple(self.captions[index]), distance)
            for index, distance in zip(found.rows[row].tolist(), found.distances[row].tolist(), strict=True)
        ][:SHOWN]
        unseen = self.unseen.get(text)
        own = self.real.picture(unseen[0], self.resolution) if unseen else None
        ratio = float(found.ratios[row])
        return Match(cell, text, picture, ratio, self.threshold is not None and ratio < self.threshold, near, own)


def _rows(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1)


def _rate(answers: Sequence[bool]) -> Interval | None:
    return wilson(sum(answers), len(answers)) if answers else None
