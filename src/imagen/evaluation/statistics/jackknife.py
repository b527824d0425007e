"""Sampling uncertainty of a number: grouped jackknife intervals, paired differences, Wilson intervals of rates.

Picture i belongs to group i mod g, for any block size, so group sizes differ by one if g does not divide n. With θ the
number over all n pictures, θ₍ⱼ₎ the number without the mⱼ pictures of group j, and hⱼ = n / mⱼ, the
bias-corrected estimate is gθ - Σ (1 - 1/hⱼ) θ₍ⱼ₎ and its variance 1/g Σ (τⱼ - estimate)² / (hⱼ - 1), where
τⱼ = hⱼθ - (hⱼ - 1) θ₍ⱼ₎: the delete-mⱼ jackknife of Busing, Meijer & van der Leeden (1999). The estimate of
a mean is the mean itself, and a bias in 1/n is removed entirely. A percentile bootstrap is useless for Fréchet
distances, because it adds their bias once more.

All this is the uncertainty of sampling with one model and a fixed reference. Another training changes a number more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from imagen.errors import UserError
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.tensors import Features, Features64

GROUPS = 20
LEVEL = 0.95
"""Nominal coverage of every interval."""

SAMPLES_PER_DIMENSION = 4
"""With fewer pictures per feature the jackknife does not remove the bias of a Fréchet distance."""


@dataclass(frozen=True)
class Interval:
    """`low` ≤ `estimate` ≤ `high`, with nominal coverage `LEVEL`. The estimate is corrected for bias, so it may differ
    from the plain number. `method`: `jackknife`, `wilson`, or `trainings` (Student's t over several of them)."""

    estimate: float
    low: float
    high: float
    method: str

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Jackknife:
    """A number over all pictures, the same number without each group, and the size of each group. What is computed from
    jackknives over the same prompts and noise is paired: their common variation cancels group by group. All arithmetic
    raises UserError unless both have the same groups."""

    value: float
    without: Float64[Tensor, "groups"]
    sizes: Float64[Tensor, "groups"]

    def __sub__(self, other: "Jackknife") -> "Jackknife":
        self._insist_on_same_groups(other)
        return Jackknife(self.value - other.value, self.without - other.without, self.sizes)

    def __add__(self, other: "Jackknife") -> "Jackknife":
        self._insist_on_same_groups(other)
        return Jackknife(self.value + other.value, self.without + other.without, self.sizes)

    def __mul__(self, other: "Jackknife") -> "Jackknife":
        self._insist_on_same_groups(other)
        return Jackknife(self.value * other.value, self.without * other.without, self.sizes)

    def __truediv__(self, other: "Jackknife") -> "Jackknife":
        self._insist_on_same_groups(other)
        return Jackknife(self.value / other.value, self.without / other.without, self.sizes)

    def _insist_on_same_groups(self, other: "Jackknife") -> None:
        if not torch.equal(self.sizes, other.sizes):
            counts = " and ".join(f"{float(one.sizes.sum()):g}" for one in (self, other))
            raise UserError(f"no paired difference of groups of {counts} pictures in all: evaluate both again, alike")

    @cached_property
    def interval(self) -> Interval:
        """Student's t with groups - 1 degrees of freedom around the bias-corrected estimate."""
        from scipy.stats import t

        groups = len(self.without)
        share = self.sizes / self.sizes.sum()  # 1 / hⱼ
        change = self.value - self.without
        correction = float(((1 - share) * change).sum())  # estimate - θ; of a constant it is 0 to the last bit
        spread = change * (1 - share) / share - correction  # τⱼ - estimate
        error = sqrt(float((spread.square() * share / (1 - share)).mean()))
        margin = float(t.ppf((1 + LEVEL) / 2, groups - 1)) * error
        estimate = self.value + correction
        return Interval(estimate, estimate - margin, estimate + margin, "jackknife")


def groups_of(count: int) -> Int64[Tensor, "batch"]:
    """The group of each of `count` pictures: at most `GROUPS` groups; with fewer pictures each has its own."""
    return torch.arange(count) % min(GROUPS, count)


def group_sizes(count: int) -> Float64[Tensor, "groups"]:
    """The size of each group of `count` pictures."""
    groups = min(GROUPS, count)
    return (count // groups + (torch.arange(groups) < count % groups)).double()


def enough_for_frechet(count: int, features: int) -> bool:
    """Whether `count` pictures suffice for an interval of a Fréchet distance with that number of features."""
    return count >= SAMPLES_PER_DIMENSION * features


def jackknife_frechet(reference: Gaussian, features: Features | Features64) -> Jackknife:
    """The Fréchet distance to a fixed reference. Sums are computed once per group, so leaving a group out costs one
    eigenvalue problem and no pass over the pictures."""
    doubles = features.double()
    centre = doubles.mean(dim=0)
    centred = doubles - centre
    group = groups_of(len(doubles))
    total = centred.T @ centred

    def without(index: int) -> float:
        left_out = centred[group == index]
        count = len(centred) - len(left_out)
        mean = -left_out.sum(dim=0) / count  # the sum over all pictures is zero
        covariance = (total - left_out.T @ left_out - count * mean.outer(mean)) / (count - 1)
        return frechet_distance(reference, Gaussian(centre + mean, covariance, count))

    return _jackknife(frechet_distance(reference, Gaussian.fit(features)), without, len(features))


def enough_for_mean(values: Float64[Tensor, "batch"]) -> bool:
    """Whether a number is left without any one group. NaN stands for a picture without a number."""
    return len(groups_of(len(values))[~values.isnan()].unique()) > 1


def jackknife_mean(values: Float64[Tensor, "batch"]) -> Jackknife:
    """The mean of one number per picture. A picture without one, NaN, stays in its group and counts for nothing: so
    the groups are the same for every number of the same pictures, and hold all pictures of a prompt.

    Raises:
        UserError: unless two groups have numbers, as two pictures have.
    """
    known = ~values.isnan()
    if not enough_for_mean(values):
        raise UserError(f"an interval of a mean needs at least 2 pictures, found {int(known.sum())}")
    group = groups_of(len(values))
    mean = float(values[known].mean())
    return _jackknife(mean, lambda index: float(values[(group != index) & known].mean()), len(values))


def wilson(right: float | int, count: float | int) -> Interval:
    """Wilson's score interval (1927) of a rate: inside [0, 1], and valid also if all or none are right. Of answers that
    are not independent, `right` and `count` are of as many as they are worth."""
    from scipy.stats import norm

    z = float(norm.ppf((1 + LEVEL) / 2))
    rate = right / count
    centre = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    margin = z / (1 + z**2 / count) * sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    # Rounding would give [-1e-18, ...] if none are right.
    return Interval(rate, max(0.0, min(centre - margin, rate)), min(1.0, max(centre + margin, rate)), "wilson")


def _jackknife(value: float, without: Callable[[int], float], count: int) -> Jackknife:
    sizes = group_sizes(count)
    return Jackknife(value, torch.tensor([without(index) for index in range(len(sizes))], dtype=torch.float64), sizes)
