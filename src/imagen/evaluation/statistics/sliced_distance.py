"""MIND, the Monge Inception Distance of two sets of features (Berthet et al. 2026, arXiv:2605.06797).

MIND = 3 d · mean over directions u of W₂²(u·x, u·y): the squared 2-Wasserstein distance of projections on random unit
vectors, d the number of features. In one dimension W₂² = ∫₀¹ (F⁻¹(t) - G⁻¹(t))² dt, so sorting suffices, and no mean or
covariance is estimated. Published code draws as many pictures from the larger set as the smaller one has; here all are
used, because the quantile functions F⁻¹ and G⁻¹ are steps and their integral is exact for any two numbers.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from imagen.errors import UserError
from imagen.evaluation.statistics.jackknife import Jackknife, group_sizes, groups_of
from imagen.randomness import make_generator
from imagen.tensors import Features, ReferenceFeatures

DIRECTIONS = 1000
"""Public implementations take 100 to 10,000. Drawn once for all, so that cells differ in their pictures alone."""

TOGETHER = 100
"""Directions in memory at a time."""

SCALE = 3
"""The paper's factor 3 d brings the number near an FID. A shift of all features by s gives 3 |s|² on average."""

Sorted = Float64[Tensor, "directions pictures"]


class SlicedDistance:
    """MIND to a fixed reference, in squared units of the features, in float64; zero for equal sets, up to rounding.
    Raises UserError if either side has fewer than two pictures."""

    def __init__(self, reference: ReferenceFeatures) -> None:
        _check_count(reference)
        self.directions = unit_directions(reference.shape[1])
        self.reference = (self.directions @ reference.double().T).sort(dim=1).values

    def __call__(self, features: Features) -> Jackknife:
        """The distance, with and without each group. Pictures are sorted once: without a group the others keep their
        order."""
        _check_count(features)
        group, sizes = groups_of(len(features)), group_sizes(len(features))
        vectors = features.double().T
        total = torch.zeros(1 + len(sizes), dtype=torch.float64)
        for some, real in zip(self.directions.split(TOGETHER), self.reference.split(TOGETHER), strict=True):
            made, order = (some @ vectors).sort(dim=1)
            kept = [made] + [made[group[order] != index].view(len(some), -1) for index in range(len(sizes))]
            steps = {count: _Steps(real, count) for count in {one.shape[1] for one in kept}}
            total += torch.stack([steps[one.shape[1]].squared_distances(one).sum() for one in kept])
        total *= SCALE * self.directions.shape[1] / len(self.directions)
        return Jackknife(float(total[0]), total[1:], sizes)


def unit_directions(width: int) -> Float64[Tensor, "directions features"]:
    """`DIRECTIONS` unit vectors, uniform on the sphere, with a fixed seed."""
    generator = make_generator(0, "directions", width)
    return torch.nn.functional.normalize(
        torch.randn(DIRECTIONS, width, generator=generator, dtype=torch.float64), dim=1
    )


class _Steps:
    """The quantile functions G⁻¹ of `reference`, cut at k / `count`: their mean in each of these steps, and their mean
    square about it. Then ∫ (F⁻¹ - G⁻¹)² = mean (x₍ₖ₎ - mean of step k)² + mean square, if F⁻¹ is x₍ₖ₎ in step k."""

    def __init__(self, reference: Sorted, count: int) -> None:
        real = reference.shape[1]
        # In whole multiples of 1 / (count · real), so that no rounding moves a cut.
        cuts = torch.cat([torch.arange(count) * real, torch.arange(real) * count]).unique()
        lengths = torch.diff(cuts, append=torch.tensor([count * real])).double()
        step, pieces = cuts // real, reference[:, cuts // count]
        self.means = torch.zeros(len(reference), count, dtype=torch.float64).index_add_(
            1, step, pieces * lengths / real
        )
        self.within = ((pieces - self.means[:, step]).square() * lengths).sum(dim=1) / (count * real)

    def squared_distances(self, made: Sorted) -> Float64[Tensor, "directions"]:
        return (made - self.means).square().mean(dim=1) + self.within


def _check_count(features: Features | ReferenceFeatures) -> None:
    if len(features) < 2:
        raise UserError(f"MIND needs at least 2 pictures on each side, found {len(features)}")
