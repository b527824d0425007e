"""What the network predicts, and how to read a clean image out of its prediction.

All of them see the same variance-preserving z = alpha x0 + sigma eps, so a network's input never depends on what it
predicts.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.tensors import Images, PerImage


class Parameterisation(ABC):
    """An affine reading of the clean image from the network's prediction, at a given z."""

    @abstractmethod
    def target(self, x0: Images, eps: Images, level: NoiseLevel) -> Images:
        """What the network should predict for z = level.add_noise(x0, eps)."""

    @abstractmethod
    def to_x0(self, prediction: Images, z: Images, level: NoiseLevel) -> Images:
        """The clean image implied by `prediction` for the noisy image `z`."""

    @abstractmethod
    def eps_loss_factor(self, level: NoiseLevel) -> PerImage:
        """The factor in |error of eps|² = factor · |error of the prediction|², at the same z."""


@dataclass(frozen=True)
class EpsPrediction(Parameterisation):
    """The noise (Imagen, appendix A). x0 = (z - sigma eps) / alpha, so its errors grow as 1/alpha at high noise."""

    def target(self, x0: Images, eps: Images, level: NoiseLevel) -> Images:
        return eps

    def to_x0(self, prediction: Images, z: Images, level: NoiseLevel) -> Images:
        return (z - level.sigma * prediction) / level.alpha

    def eps_loss_factor(self, level: NoiseLevel) -> PerImage:
        return torch.ones_like(level.log_snr)


@dataclass(frozen=True)
class X0Prediction(Parameterisation):
    """The clean image."""

    def target(self, x0: Images, eps: Images, level: NoiseLevel) -> Images:
        return x0

    def to_x0(self, prediction: Images, z: Images, level: NoiseLevel) -> Images:
        return prediction

    def eps_loss_factor(self, level: NoiseLevel) -> PerImage:
        return level.log_snr.exp()


@dataclass(frozen=True)
class VPrediction(Parameterisation):
    """v = alpha eps - sigma x0 (Salimans & Ho 2022, appendix D), well behaved at both ends."""

    def target(self, x0: Images, eps: Images, level: NoiseLevel) -> Images:
        return level.alpha * eps - level.sigma * x0

    def to_x0(self, prediction: Images, z: Images, level: NoiseLevel) -> Images:
        return level.alpha * z - level.sigma * prediction

    def eps_loss_factor(self, level: NoiseLevel) -> PerImage:
        return torch.sigmoid(level.log_snr)  # alpha²


@dataclass(frozen=True)
class FlowPrediction(Parameterisation):
    """The velocity u = eps - x0 of flow matching.

    Flow matching's own noisy image is (1 - t) x0 + t eps = z / (alpha + sigma) with t = sigma / (alpha + sigma); hence
    x0 = (z - sigma u) / (alpha + sigma).
    """

    def target(self, x0: Images, eps: Images, level: NoiseLevel) -> Images:
        return eps - x0

    def to_x0(self, prediction: Images, z: Images, level: NoiseLevel) -> Images:
        return (z - level.sigma * prediction) / (level.alpha + level.sigma)

    def eps_loss_factor(self, level: NoiseLevel) -> PerImage:
        return torch.sigmoid(level.log_snr / 2).square()  # (alpha / (alpha + sigma))²
