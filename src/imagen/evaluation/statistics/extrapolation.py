"""FD∞: a Fréchet distance without the bias of few pictures, by extrapolation (Chong & Forsyth 2020).

The bias of a Fréchet distance falls as 1/N. The distances of random subsets lie on a line over 1/N, whose value at 0 is
the distance for infinitely many pictures. FD∞ varies more than the bias-corrected jackknife and has no interval.
"""

import torch

from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.evaluation.statistics.jackknife import enough_for_frechet
from imagen.randomness import make_generator
from imagen.tensors import Features

SIZES = 15
"""Number of subset sizes for the fit, evenly spaced up to all pictures."""

SMALLEST_SHARE = 0.1
"""The smallest subset, as a share of all pictures, but at least two pictures per feature."""


def frechet_at_infinity(reference: Gaussian, features: Features) -> float:
    """The value at 1/N = 0 of the least-squares line, in squared units of the features; it can be negative.

    Needs at least 4 pictures per feature. The subsets are drawn independently, with a fixed seed.
    """
    count, width = features.shape
    assert enough_for_frechet(count, width), f"{count} pictures are too few for {width} features"
    smallest = max(round(SMALLEST_SHARE * count), 2 * width)
    sizes = torch.linspace(smallest, count, SIZES).round().int().tolist()
    distances = [frechet_distance(reference, Gaussian.fit(features[_part(count, size)])) for size in sizes]
    inverse = 1 / torch.tensor(sizes, dtype=torch.float64)
    line = torch.stack([torch.ones_like(inverse), inverse], dim=1)
    fit = torch.linalg.lstsq(line, torch.tensor(distances, dtype=torch.float64)[:, None])
    return float(fit.solution[0, 0]) + 0.0  # not -0.0


def _part(count: int, size: int) -> torch.Tensor:
    return torch.randperm(count, generator=make_generator(0, "part", count, size))[:size]
