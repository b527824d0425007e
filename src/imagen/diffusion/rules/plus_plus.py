"""CFG++: guidance that is renoised with the unconditional noise, as weights that follow the steps of the sampler."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.guidance import ConditionalDenoise, Guidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.rules.two_estimates import TwoEstimates
from imagen.tensors import Images


@dataclass(frozen=True, kw_only=True)
class PlusPlusGuidance(TwoEstimates):
    """CFG++ (Chung et al. 2024, 2406.08070, algorithm 2).

    A step of CFG++ takes x̂ = x0_uncond + λ (x0_cond - x0_uncond) with λ in [0, 1], and adds the *unconditional* noise
    to it, not the one that goes with x̂. A sampler here sees one estimate of x0. The step of DDIM from the log-SNR
    `here` to `there` is the same if that estimate is

        x0_uncond + λ / (1 - exp((here - there) / 2)) (x0_cond - x0_uncond)

    So CFG++ is classifier-free guidance whose weight follows the length of each step, and on steps of equal length in
    log-SNR it is classifier-free guidance itself. `weight` is the mean of that weight over the steps of the path, which
    makes it comparable with that of the other rules; λ follows from it (`strength`). Thresholding sees the estimate
    above, where CFG++ would threshold x̂. With other samplers than DDIM the weights are the same, the equality is not.
    """

    def strength(self, path: Sequence[float]) -> float:
        """λ of the paper, for a sampling along the log-SNRs of `path`."""
        gains = _gains(path)
        return float(self.weight) * len(gains) / sum(gains.values())

    def begin(self, path: Sequence[float]) -> Guidance:
        if self.weight == 1:
            return self
        strength = self.strength(path)
        return _OnPath(self, {here: strength * gain for here, gain in _gains(path).items()})

    def combined(self, x0_cond: Images, x0_uncond: Images, z: Images, level: NoiseLevel) -> Images:
        raise AssertionError("CFG++ needs to know the steps of the sampler: begin(path) comes first")


class _OnPath:
    """The rule on a path: its weight by log-SNR."""

    def __init__(self, rule: PlusPlusGuidance, weights: dict[float, float]) -> None:
        self._rule = rule
        self._weights = weights

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        x0_cond, x0_uncond = self._rule.both(denoiser, z, level, conditioning)
        here = level.first()  # perhaps in float32: the nearest of the path's
        nearest = min(self._weights, key=lambda log_snr: abs(log_snr - here))
        return torch.lerp(x0_uncond, x0_cond, self._weights[nearest])


def _gains(path: Sequence[float]) -> dict[float, float]:
    """1 / (1 - exp((here - there) / 2)) for each step towards the picture, by `here`; 1 for the last, to x0 itself."""
    steps = {here: there for here, there in pairwise(path) if there > here}
    return {here: -1 / math.expm1((here - there) / 2) for here, there in steps.items()} | {path[-1]: 1.0}
