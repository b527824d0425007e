"""FD∞: a Fréchet distance without the bias of few pictures, by extrapolation (Chong & Forsyth 2020).

The bias of a Fréchet distance falls as 1/N. Distances of random parts of the pictures lie on a line over 1/N, whose
value at 0 is that of infinitely many. It varies more than the bias-corrected jackknife, and carries no interval.
"""

import torch

from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.evaluation.statistics.jackknife import enough_for_frechet
from imagen.randomness import make_generator
from imagen.tensors import Features

SIZES = 15
"""Numbers of pictures that the line is fitted to, evenly spaced up to all of them."""

SMALLEST_SHARE = 0.1
"""The smallest part, unless that is fewer than two pictures for each feature."""


def frechet_at_infinity(reference: Gaussian, features: Features) -> float:
    """The value at 1/N = 0 of the least-squares line, in the units of the features squared; it can be negative.

    Takes at least 4 pictures a feature. The parts are drawn with a fixed seed, each on its own.
    """
    count, width = features.shape
    assert enough_for_frechet(count, width), f"{count} pictures are too few for {width} features"
    smallest = max(round(SMALLEST_SHARE * count), 2 * width)
    sizes = torch.linspace(smallest, count, SIZES).round().int().tolist()
    distances = [frechet_distance(reference, Gaussian.fit(features[_part(count, size)])) for size in sizes]
    inverse = 1 / torch.tensor(sizes, dtype=torch.float64)
    line = torch.stack([torch.ones_like(inverse), inverse], dim=1)
    found = torch.linalg.lstsq(line, torch.tensor(distances, dtype=torch.float64)[:, None])
    return float(found.solution[0, 0]) + 0.0  # not -0.0


def _part(count: int, size: int) -> torch.Tensor:
    return torch.randperm(count, generator=make_generator(0, "part", count, size))[:size]
