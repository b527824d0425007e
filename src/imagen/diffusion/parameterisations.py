"""What the network predicts, and how to read a clean image out of its prediction.

All of them see the same variance-preserving z = alpha x0 + sigma eps, so a network's input never depends on what it
predicts.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.tensors import BroadcastPerImage, Images, PerImage


class Parameterisation(ABC):
    """prediction = a x0 + b eps. A subclass states a and b at each noise level; everything else follows.

    Together with z = alpha x0 + sigma eps these are two linear equations for x0 and eps, whose determinant is
    d = b alpha - a sigma. Their solution is x0 = (b z - sigma prediction) / d.
    """

    @abstractmethod
    def coefficients(self, level: NoiseLevel) -> tuple[BroadcastPerImage, BroadcastPerImage]:
        """(a, b)."""

    def determinant(self, level: NoiseLevel) -> BroadcastPerImage:
        """d = b alpha - a sigma; not zero at any level in use."""
        a, b = self.coefficients(level)
        return b * level.alpha - a * level.sigma

    def target(self, x0: Images, eps: Images, level: NoiseLevel) -> Images:
        """What the network should predict for z = level.add_noise(x0, eps)."""
        a, b = self.coefficients(level)
        return a * x0 + b * eps

    def to_x0(self, prediction: Images, z: Images, level: NoiseLevel) -> Images:
        """The clean image implied by `prediction` for the noisy image `z`."""
        _, b = self.coefficients(level)
        return (b * z - level.sigma * prediction) / self.determinant(level)

    def eps_loss_factor(self, level: NoiseLevel) -> PerImage:
        """(alpha / d)², the factor in |error of eps|² = factor · |error of the prediction|² at the same z."""
        return (level.alpha / self.determinant(level)).square().flatten()


@dataclass(frozen=True)
class EpsPrediction(Parameterisation):
    """The noise (Imagen, appendix A). x0 = (z - sigma eps) / alpha, so its errors grow as 1/alpha at high noise."""

    def coefficients(self, level: NoiseLevel) -> tuple[BroadcastPerImage, BroadcastPerImage]:
        return torch.zeros_like(level.alpha), torch.ones_like(level.alpha)


@dataclass(frozen=True)
class X0Prediction(Parameterisation):
    """The clean image."""

    def coefficients(self, level: NoiseLevel) -> tuple[BroadcastPerImage, BroadcastPerImage]:
        return torch.ones_like(level.alpha), torch.zeros_like(level.alpha)


@dataclass(frozen=True)
class VPrediction(Parameterisation):
    """v = alpha eps - sigma x0 (Salimans & Ho 2022, appendix D), well behaved at both ends."""

    def coefficients(self, level: NoiseLevel) -> tuple[BroadcastPerImage, BroadcastPerImage]:
        return -level.sigma, level.alpha

    def determinant(self, level: NoiseLevel) -> BroadcastPerImage:
        return torch.ones_like(level.alpha)  # alpha² + sigma² = 1, without rounding


@dataclass(frozen=True)
class FlowPrediction(Parameterisation):
    """The velocity u = eps - x0 of flow matching.

    Flow matching's own noisy image is (1 - t) x0 + t eps = z / (alpha + sigma) with t = sigma / (alpha + sigma); hence
    x0 = (z - sigma u) / (alpha + sigma).
    """

    def coefficients(self, level: NoiseLevel) -> tuple[BroadcastPerImage, BroadcastPerImage]:
        return -torch.ones_like(level.alpha), torch.ones_like(level.alpha)
