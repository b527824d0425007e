"""Retrieval: does a picture find its own caption among those of all pictures? R@k, as in the papers of CLIP's kind."""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from imagen.tensors import Features

NOISE = 1e-9
"""Cosines that differ by less are a tie: equal texts can differ in the last digits of a matrix product."""


def ranks(pictures: Features, texts: Features, captions: Sequence[str]) -> Int64[Tensor, "batch"]:
    """For each picture, how many captions fit it at least as well as its own, by cosine: 0 is the first rank.

    A caption that several pictures have is one caption, and no rival of itself. A tie counts against the picture: a
    judge that cannot tell two captions apart has not found the right one.

    Args:
        pictures: features of the pictures.
        texts: features of their captions, row by row.
        captions: the captions themselves.
    """
    places = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    own = torch.tensor([places[caption] for caption in captions])
    first = torch.tensor([list(captions).index(caption) for caption in places])
    scores = _normalised(pictures) @ _normalised(texts[first]).T
    best = scores.gather(1, own[:, None])
    return (scores >= best - NOISE).sum(dim=1) - 1  # without the caption itself


def _normalised(features: Features) -> Tensor:
    return torch.nn.functional.normalize(features.double(), dim=1)
