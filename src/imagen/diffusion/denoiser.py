"""A network together with the meaning of its output."""

from typing import Any

from torch import nn

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import Parameterisation
from imagen.diffusion.weightings import LossWeighting
from imagen.tensors import Images, PerImage


class Denoiser(nn.Module):
    """Estimates the clean image: (z, level, conditioning) -> x0.

    Only `network` may run in low precision (autocast). Its prediction is cast to float32; all that follows is
    elementwise arithmetic on float32 tensors, which autocast leaves alone.

    Args:
        network: network(z, log_snr, conditioning) is a prediction of the shape of z, which comes in the scale of
            `parameterisation.network_input`.
        parameterisation: what the network predicts.
        weighting: how much each noise level counts in `loss`.
    """

    def __init__(self, network: nn.Module, parameterisation: Parameterisation, weighting: LossWeighting) -> None:
        super().__init__()
        self.network = network
        self.parameterisation = parameterisation
        self.weighting = weighting

    def forward(self, z: Images, level: NoiseLevel, conditioning: Conditioning) -> Images:
        """The estimate of x0 given z, float32, not thresholded."""
        return self.parameterisation.to_x0(self._prediction(z, level, conditioning), z, level)

    @property
    def learned_variance(self) -> bool:
        """Whether the network also says the variance of an ancestral step."""
        return bool(getattr(self.network, "learned_variance", False))

    def with_variance(self, z: Images, level: NoiseLevel, conditioning: Conditioning) -> tuple[Images, Images]:
        """The estimate of x0, and gamma of `DDPMSampler` for each value of it, of a network with `learned_variance`."""
        read = self.parameterisation.network_input(z, level)
        network: Any = self.network
        prediction, variance = network.with_variance(read, level.log_snr, conditioning)
        return self.parameterisation.to_x0(prediction.float(), z, level), (variance.float() + 1) / 2

    def loss(self, x0: Images, eps: Images, level: NoiseLevel, conditioning: Conditioning) -> PerImage:
        """The weighted mean squared error of the network's prediction for z = level.add_noise(x0, eps)."""
        prediction = self._prediction(level.add_noise(x0, eps), level, conditioning)
        target = self.parameterisation.target(x0, eps, level)
        error = (prediction - target).square().mean(dim=(1, 2, 3))
        return self.weighting(level, self.parameterisation) * error

    def _prediction(self, z: Images, level: NoiseLevel, conditioning: Conditioning) -> Images:
        return self.network(self.parameterisation.network_input(z, level), level.log_snr, conditioning).float()


class KeptVariance:
    """A denoiser that keeps, of each estimate of x0, the learned variance of its conditional branch.

    Every guidance rule makes the conditional estimate in its first pass, for the first images of it.

    Args:
        denoiser: of a network with `learned_variance`.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser
        self._gamma: Images | None = None

    def __call__(self, z: Images, level: NoiseLevel, conditioning: Conditioning) -> Images:
        x0, gamma = self._denoiser.with_variance(z, level, conditioning)
        self._gamma = gamma if self._gamma is None else self._gamma
        return x0

    def take(self, images: int) -> Images:
        """gamma of the `images` images since it was last taken."""
        assert self._gamma is not None, "there was no estimate"
        gamma, self._gamma = self._gamma[:images], None
        return gamma
