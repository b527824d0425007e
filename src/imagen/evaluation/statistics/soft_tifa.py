"""Soft-TIFA (GenEval 2, arXiv 2512.16853): how probable the right answers to the questions about a picture are.

With pᵢ the probability of the right answer to question i of n about one picture, AM = 1/n Σ pᵢ estimates how often an
atom of the prompt is right, and GM = (Π pᵢ)^(1/n) how often the whole prompt is: one certain failure makes it 0. Both
are averaged over pictures.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from imagen.evaluation.statistics.jackknife import Jackknife, jackknife_mean


def arithmetic_means(answers: Sequence[Sequence[float]]) -> Float64[Tensor, "batch"]:
    """AM of each picture; NaN of pictures that nothing was asked about."""
    return torch.stack([torch.tensor(one, dtype=torch.float64).mean() for one in answers])


def geometric_means(answers: Sequence[Sequence[float]]) -> Float64[Tensor, "batch"]:
    """GM of each picture; NaN of pictures that nothing was asked about. A probability of 0 gives 0."""
    return torch.stack([torch.tensor(one, dtype=torch.float64).log().mean().exp() for one in answers])


def pooled_mean(answers: Sequence[Sequence[float]]) -> Jackknife:
    """The mean over all questions, of whatever picture. Its groups are groups of pictures, so it is a ratio of sums.

    Raises UserError for fewer than two pictures. Values are NaN where a group leaves no question over."""
    sums = torch.tensor([sum(one) for one in answers], dtype=torch.float64)
    counts = torch.tensor([len(one) for one in answers], dtype=torch.float64)
    return jackknife_mean(sums) / jackknife_mean(counts)
