"""What the network predicts, and how to read a clean image out of its prediction.

All of them see the same variance-preserving z = alpha x0 + sigma eps. A network is given z itself, or z times a factor
that depends on the noise level alone (`network_input`).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.errors import UserError
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

    def network_input(self, z: Images, level: NoiseLevel) -> Images:
        """What the network is given for the noisy image `z`: z, in a scale that suits the network."""
        return z

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


@dataclass(frozen=True)
class EDMPrediction(Parameterisation):
    """F of EDM (Karras et al. 2022, table 1): what remains of x0 beside c_skip x, in units of c_out.

    EDM's noisy image is x = x0 + s eps. It is z / alpha, with s = sigma / alpha = exp(-log_snr / 2). Let r be the
    standard deviation of z where that of x0 is `sigma_data`: r² = sigma² + sigma_data² alpha². Then

        c_in x = z / r,  c_skip x = sigma_data² alpha z / r²,  c_out = sigma_data sigma / r,
        F = (x0 - c_skip x) / c_out = (sigma x0 / sigma_data - sigma_data alpha eps) / r.

    The plain squared error of F is EDM's loss, which is that of x0 times 1 / c_out². Input and target both have
    variance 1. With sigma_data = 1 the input is z and F is -v. One thing differs: EDM tells its network
    c_noise = -log_snr / 8, ours are told log_snr, and each embeds it in its own way.

    Args:
        sigma_data: standard deviation of the clean images' pixels.

    Raises:
        UserError: unless sigma_data is positive and finite.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.sigma_data < math.inf:
            raise UserError(f"sigma_data of EDM is {self.sigma_data}; it must be positive and finite")

    def _scale(self, level: NoiseLevel) -> BroadcastPerImage:
        return (level.sigma.square() + (self.sigma_data * level.alpha).square()).sqrt()

    def network_input(self, z: Images, level: NoiseLevel) -> Images:
        """c_in x."""
        return z / self._scale(level)

    def coefficients(self, level: NoiseLevel) -> tuple[BroadcastPerImage, BroadcastPerImage]:
        scale = self._scale(level)
        return level.sigma / (self.sigma_data * scale), -self.sigma_data * level.alpha / scale

    def determinant(self, level: NoiseLevel) -> BroadcastPerImage:
        return -self._scale(level) / self.sigma_data
