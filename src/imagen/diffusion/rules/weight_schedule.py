"""Guidance whose weight depends on the noise."""

from dataclasses import dataclass

import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.rules.two_estimates import TwoEstimates
from imagen.errors import UserError
from imagen.tensors import Images


@dataclass(frozen=True, kw_only=True)
class ScheduledGuidance(TwoEstimates):
    """Classifier-free guidance whose weight changes along a line in log-SNR (after Wang et al. 2024, 2404.13040).

        w(log_snr) = 1 + (weight - 1) share(log_snr)

    `share` is `share_noisy` up to `log_snr_min`, `share_clean` from `log_snr_max` on, and linear between them. Both at
    1 are classifier-free guidance. 0 and 2 are the paper's rising schedule: little while the picture is mostly noise.

    Args:
        log_snr_min: the noisy end of the line.
        log_snr_max: its clean end.
        share_noisy: of weight - 1, at the noisy end.
        share_clean: of weight - 1, at the clean end.

    Raises:
        UserError: also unless log_snr_min < log_snr_max, and for negative shares.
    """

    log_snr_min: float | int
    log_snr_max: float | int
    share_noisy: float | int
    share_clean: float | int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.log_snr_min < self.log_snr_max:
            raise UserError(
                f"guidance changes from log-SNR {self.log_snr_min} to {self.log_snr_max}; log_snr_min must be below "
                "log_snr_max"
            )
        for name in ("share_noisy", "share_clean"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} of the guidance is {getattr(self, name)}; it must be at least 0")

    def combined(self, x0_cond: Images, x0_uncond: Images, z: Images, level: NoiseLevel) -> Images:
        way = ((level.log_snr - self.log_snr_min) / (self.log_snr_max - self.log_snr_min)).clamp(0, 1)
        share = self.share_noisy + way * (self.share_clean - self.share_noisy)
        weight = 1 + (self.weight - 1) * share[:, None, None, None]
        return torch.lerp(x0_uncond, x0_cond, weight.to(x0_cond))
