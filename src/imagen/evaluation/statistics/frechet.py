"""The Fréchet distance between two Gaussians fitted to features, in float64.

FD = |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½). With r = Σ₁^½, computed once for the reference, the last trace is the sum
of the square roots of the eigenvalues of the symmetric r Σ₂ r: cheaper than a general matrix root, and always real.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from imagen.errors import UserError
from imagen.tensors import Features, Features64

Square = Float64[Tensor, "features features"]


@dataclass(frozen=True)
class Gaussian:
    """Mean (features,) and unbiased covariance (features, features) of `count` feature vectors, float64."""

    mean: Float64[Tensor, "features"]
    covariance: Square
    count: int

    @classmethod
    def fit(cls, features: Features | Features64) -> "Gaussian":
        """Fit a Gaussian to features. Raises UserError for fewer than two vectors or values that are not finite."""
        if len(features) < 2:
            raise UserError(f"a Fréchet distance needs at least 2 pictures on each side, found {len(features)}")
        doubles = features.double()
        if not doubles.isfinite().all():
            raise UserError("features contain nan or infinity: the pictures or the judge's weights are broken")
        mean = doubles.mean(dim=0)
        centred = doubles - mean
        return cls(mean, centred.T @ centred / (len(doubles) - 1), len(doubles))

    @cached_property
    def root(self) -> Square:
        """The symmetric positive square root of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def frechet_distance(reference: Gaussian, other: Gaussian) -> float:
    """The squared Fréchet distance, in squared units of the features. Not negative; zero for equal Gaussians."""
    if reference.mean.shape != other.mean.shape:
        raise UserError(
            f"features of different sizes: {len(reference.mean)} in the reference, {len(other.mean)} in the pictures"
        )
    cross = torch.linalg.eigvalsh(reference.root @ other.covariance @ reference.root).clamp(min=0).sqrt().sum()
    squared_mean = (reference.mean - other.mean).square().sum()
    total = squared_mean + reference.covariance.trace() + other.covariance.trace() - 2 * cross
    return max(float(total), 0.0)
