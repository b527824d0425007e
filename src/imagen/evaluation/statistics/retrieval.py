"""Retrieval: does a picture find its own caption among those of all pictures? R@k, as in the papers of CLIP's kind."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from imagen.tensors import Features

NOISE = 1e-9
"""Cosines that differ by less are a tie: equal texts can differ in the last digits of a matrix product."""


def ranks(scores: Float[Tensor, "rows columns"], right: Bool[Tensor, "rows columns"]) -> Int64[Tensor, "rows"]:
    """For each row, how many wrong columns score at least as high as the best right one: 0 is the first rank.

    A tie counts against the row: a judge that cannot tell two columns apart has not found the right one. So does NaN.
    """
    best = scores.masked_fill(~right, float("-inf")).amax(dim=1, keepdim=True)
    return (~(scores < best - NOISE) & ~right).sum(dim=1)


def caption_ranks(pictures: Features, texts: Features, captions: Sequence[str]) -> Int64[Tensor, "batch"]:
    """For each picture, the rank of its own caption among all by cosine.

    A caption that several pictures have is one caption, and no rival of itself.

    Args:
        pictures: features of the pictures.
        texts: features of their captions, row by row.
        captions: the captions themselves.
    """
    places = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    own = torch.tensor([places[caption] for caption in captions])
    first = torch.tensor([list(captions).index(caption) for caption in places])
    return ranks(all_cosines(pictures, texts[first]), own[:, None] == torch.arange(len(places)))


def all_cosines(
    rows: Float[Tensor, "rows features"], columns: Float[Tensor, "columns features"]
) -> Float[Tensor, "rows columns"]:
    """The cosine of every row's features with every column's, in float64."""
    return functional.normalize(rows.double(), dim=1) @ functional.normalize(columns.double(), dim=1).T
