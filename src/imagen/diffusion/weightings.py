"""How much each noise level counts in the training loss.

A weighting is stated once, as a weight w(log_snr) on the squared error of eps; `Parameterisation.eps_loss_factor`
carries it to whatever the network predicts, so changing what is predicted does not silently change what is weighted.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import Parameterisation
from imagen.errors import UserError
from imagen.tensors import PerImage


class LossWeighting(ABC):
    """A weight for each noise level. The schedule draws times uniformly; with a weight of 1 all times count equally."""

    @abstractmethod
    def __call__(self, level: NoiseLevel, parameterisation: Parameterisation) -> PerImage:
        """The weight of each image's mean squared error in the space of the network's prediction."""


@dataclass(frozen=True)
class UnweightedLoss(LossWeighting):
    """The plain squared error of whatever the network predicts.

    With v this is the "SNR + 1" weighting of Salimans & Ho (2022); with flow, the loss of rectified flow.
    """

    def __call__(self, level: NoiseLevel, parameterisation: Parameterisation) -> PerImage:
        return torch.ones_like(level.log_snr)


@dataclass(frozen=True)
class ConstantEpsWeighting(LossWeighting):
    """The same weight on the error of eps at every level: the loss of Imagen (appendix A) and of DDPM."""

    def __call__(self, level: NoiseLevel, parameterisation: Parameterisation) -> PerImage:
        return parameterisation.eps_loss_factor(level)


@dataclass(frozen=True)
class MinSNRWeighting(LossWeighting):
    """min(SNR, gamma) on the error of x0, which is min(1, gamma / SNR) on that of eps (Hang et al. 2023).

    Raises:
        UserError: unless gamma is positive and finite.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise UserError(f"gamma of the min-SNR weighting is {self.gamma}; it must be positive and finite")

    def __call__(self, level: NoiseLevel, parameterisation: Parameterisation) -> PerImage:
        eps_weight = (self.gamma * (-level.log_snr).exp()).clamp(max=1)
        return eps_weight * parameterisation.eps_loss_factor(level)


@dataclass(frozen=True)
class SigmoidWeighting(LossWeighting):
    """sigmoid(bias - log_snr) on the error of eps (VDM++, Kingma & Gao 2023; simpler diffusion, Hoogeboom et al. 2024).

    A larger bias gives the cleaner levels, that is the fine detail, more weight.

    Raises:
        UserError: unless bias is finite.
    """

    bias: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.bias):
            raise UserError(f"bias of the sigmoid weighting is {self.bias}; it must be finite")

    def __call__(self, level: NoiseLevel, parameterisation: Parameterisation) -> PerImage:
        return torch.sigmoid(self.bias - level.log_snr) * parameterisation.eps_loss_factor(level)


@dataclass(frozen=True)
class TruncatedSNRWeighting(LossWeighting):
    """max(SNR, 1) on the error of x0, which is max(1, 1 / SNR) on that of eps (Salimans & Ho 2022, section 4).

    For distillation: a student's estimate counts where the signal is nearly gone, too, since its steps are long.
    """

    def __call__(self, level: NoiseLevel, parameterisation: Parameterisation) -> PerImage:
        eps_weight = (-level.log_snr).exp().clamp(min=1)
        return eps_weight * parameterisation.eps_loss_factor(level)
