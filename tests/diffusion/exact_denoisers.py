"""Distributions of images with exactly known optimal denoisers and paths from noise to image.

Pixels are independent and follow the same mixture of Gaussians, so all computations are one-dimensional.
"""

from dataclasses import dataclass

import torch
from torch import nn

from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.noise_level import NoiseLevel


@dataclass(frozen=True)
class Mixture:
    """Pixels drawn from N(means[k], std²), every k equally likely. One mean makes it a Gaussian."""

    means: tuple[float, ...]
    std: float

    def denoise(self, z, level):
        """E[x0 | z], the minimiser of every squared-error loss."""
        variance = level.alpha**2 * self.std**2 + level.sigma**2
        shape = (-1, *[1] * z.ndim)
        means = torch.tensor(self.means, dtype=z.dtype).reshape(shape)
        responsibility = torch.softmax(-((z - level.alpha * means) ** 2) / (2 * variance), dim=0)
        posterior_mean = means + level.alpha * self.std**2 / variance * (z - level.alpha * means)
        return (responsibility * posterior_mean).sum(dim=0)

    def cdf(self, z, level):
        """The distribution function of a pixel of z at `level`."""
        scale = (level.alpha**2 * self.std**2 + level.sigma**2).sqrt()
        standard = [torch.special.ndtr((z - level.alpha * mean) / scale) for mean in self.means]
        return torch.stack(standard).mean(dim=0)

    def transport(self, z, log_snr):
        """Where the probability flow takes `z` from `log_snr` to the clean image.

        In one dimension the flow keeps quantiles: the image is the one with the same distribution function, found
        by bisection.
        """
        here, clean = constant_level(log_snr, z), constant_level(100.0, z)
        wanted = self.cdf(z, here)
        low, high = torch.full_like(z, -20.0), torch.full_like(z, 20.0)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.cdf(middle, clean) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


GAUSSIAN = Mixture((0.3,), 0.5)
TWO_PEAKS = Mixture((-0.6, 0.5), 0.25)


class ExactNetwork(nn.Module):
    """What a perfectly trained network of the given parameterisation predicts.

    Images with text are of the first component of the mixture, images without text of any.
    """

    def __init__(self, mixture, parameterisation):
        super().__init__()
        self.mixture = mixture
        self.parameterisation = parameterisation
        self.calls = 0
        self.images = 0

    def forward(self, z, log_snr, conditioning):
        self.calls += 1
        self.images += len(z)
        level = NoiseLevel(log_snr)
        conditional = Mixture(self.mixture.means[:1], self.mixture.std).denoise(z, level)
        has_text = conditioning["text"].mask.any(dim=1)[:, None, None, None]
        x0 = torch.where(has_text, conditional, self.mixture.denoise(z, level))
        return self.parameterisation.target(x0, (z - level.alpha * x0) / level.sigma, level)


def constant_level(log_snr, like):
    """The level `log_snr` for every image of `like`."""
    return NoiseLevel(torch.full((len(like),), log_snr, dtype=like.dtype))


def some_text(batch):
    """A conditioning with text for every image."""
    return Conditioning(text=TextSignal(torch.ones(batch, 3, 2), torch.ones(batch, 3, dtype=torch.bool)))
