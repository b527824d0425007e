"""How well a judge knows pictures that it was not trained on: does each picture find its own caption among all?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from imagen.errors import UserError
from imagen.evaluation.judges.extractor import AlignmentJudge
from imagen.evaluation.statistics.jackknife import Interval, wilson
from imagen.evaluation.statistics.retrieval import all_cosines, ranks
from imagen.judging.pictures import CaptionedPictures
from imagen.tensors import Features

FEWEST_ROWS = 10
"""Recall at 5 among fewer pictures says next to nothing."""

MOST_ROWS = 1000
"""Recall depends on how many pictures there are to choose from, and its interval is narrow enough by then."""

RANKS = (1, 5)
DIRECTIONS = ("caption to picture", "picture to caption")


@dataclass(frozen=True)
class Retrieval:
    """Recalls of `rows` pictures and their captions, in both directions: the share whose partner is among the best 1
    and the best 5, with Wilson's 95 % interval. Keys such as `R@1, caption to picture`."""

    rows: int
    recalls: Mapping[str, Interval]

    def as_record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {key: {"value": it.estimate, "low": it.low, "high": it.high} for key, it in self.recalls.items()}
        return {"rows": self.rows, **values}

    @property
    def line(self) -> str:
        """The recalls of captions that look for their picture, in one line."""
        values = [f"R@{rank} {self.recalls[f'R@{rank}, {DIRECTIONS[0]}'].estimate:.2f}" for rank in RANKS]
        return f"{', '.join(values)} among {self.rows} validation rows"


def check_rows(rows: int, name: str) -> None:
    """Raises UserError if there are too few validation rows for a recall; `name` is their source."""
    if rows < FEWEST_ROWS:
        raise UserError(
            f"{name}: {rows} validation rows, and the recall of a judge needs at least {FEWEST_ROWS}: hold out more "
            "with data.train.n=..., or give more pictures"
        )


def measure_retrieval(judge: AlignmentJudge, pictures: CaptionedPictures) -> Retrieval:
    """The recalls of `judge` on `pictures` and the first caption of each.

    Raises:
        UserError: if its features are not finite.
    """
    images, texts = judge.image_features(pictures.pixels), judge.text_features(pictures.first_captions)
    if not (images.isfinite().all() and texts.isfinite().all()):
        raise UserError(f"judge {judge.name}: its features are not finite; train it with a lower learning rate")
    return retrieval(images, texts, pictures)


def retrieval(images: Features, texts: Features, pictures: CaptionedPictures) -> Retrieval:
    """The recalls by the cosines of features. Another picture with the same caption is as right as its own."""
    scores = all_cosines(texts, images)
    places = {text: place for place, text in enumerate(dict.fromkeys(pictures.first_captions))}
    group = torch.tensor([places[text] for text in pictures.first_captions])
    same, recalls = group[:, None] == group[None], {}
    for direction, looked_through in zip(DIRECTIONS, (scores, scores.T), strict=True):
        better = ranks(looked_through, same)
        for rank in RANKS:
            recalls[f"R@{rank}, {direction}"] = wilson(int((better < rank).sum()), len(group))
    return Retrieval(len(group), recalls)
