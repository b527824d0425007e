"""A position on the diffusion path, between a clean image and pure noise."""

from dataclasses import dataclass

import torch

from imagen.tensors import BroadcastPerImage, Images, PerImage


@dataclass(frozen=True)
class NoiseLevel:
    """How noisy each image of a batch is: the log of its signal-to-noise ratio (Imagen, section 2.1).

    `log_snr` has shape (batch,) and is float32 or wider. `alpha` and `sigma` have shape (batch, 1, 1, 1), so they
    multiply a batch of images directly and cannot broadcast along the wrong axis.

    Raises:
        ValueError: if `log_snr` does not have exactly one axis.
    """

    log_snr: PerImage

    def __post_init__(self) -> None:
        if self.log_snr.ndim != 1:
            raise ValueError(f"log_snr must have shape (batch,), got {tuple(self.log_snr.shape)}")

    @property
    def alpha(self) -> BroadcastPerImage:
        """Scale of the clean image."""
        return torch.sigmoid(self.log_snr).sqrt()[:, None, None, None]

    @property
    def sigma(self) -> BroadcastPerImage:
        """Scale of the noise; alpha² + sigma² = 1 (variance preserving)."""
        return torch.sigmoid(-self.log_snr).sqrt()[:, None, None, None]

    def first(self) -> float:
        """The log-SNR of the first image. Waits for the device."""
        return float(self.log_snr[0])

    def add_noise(self, x0: Images, eps: Images) -> Images:
        """The noisy image z ~ q(z | x0)."""
        return self.alpha * x0 + self.sigma * eps


@dataclass(frozen=True)
class CommonLevel(NoiseLevel):
    """One level for all images of a batch, as in sampling: `common` is its log-SNR, known without asking the device."""

    common: float

    def first(self) -> float:
        """The log-SNR of every image."""
        return self.common
