"""Adaptive projected guidance."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.guidance import ConditionalDenoise, Guidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.rules.two_estimates import TwoEstimates, inner
from imagen.errors import UserError
from imagen.tensors import Images


@dataclass(frozen=True, kw_only=True)
class ProjectedGuidance(TwoEstimates):
    """Adaptive projected guidance, APG (Sadat et al. 2024, 2410.02416, algorithm 1), on x0.

    The step from the unconditional to the conditional estimate is added up over the sampling with a (negative)
    momentum, made no longer than `norm_threshold`, and split: its part along the conditional estimate, which
    saturates colours, counts `eta` times.

        x0 = x0_cond + (weight - 1) (step across x0_cond + eta · step along x0_cond)

    `eta` 1, no threshold and no momentum are classifier-free guidance.

    Args:
        eta: of the part along the conditional estimate; the paper takes 0.
        norm_threshold: of a step, as the root of its mean square over the values of a picture, so that it serves every
            size; None is none. The paper's 5 to 15 for its latents are 0.04 to 0.08.
        momentum: in (-1, 1); the paper takes -0.75 to -0.25; 0 is none.

    Raises:
        UserError: also for a threshold that is not positive, and a momentum out of range.
    """

    eta: float | int = 0.0
    norm_threshold: float | int | None = None
    momentum: float | int = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm_threshold is not None and not self.norm_threshold > 0:
            raise UserError(f"norm_threshold of the guidance is {self.norm_threshold}; it must be above 0, or null")
        if not -1 < self.momentum < 1:
            raise UserError(f"momentum of the guidance is {self.momentum}; it must be in (-1, 1) (0 is none)")

    def begin(self, path: Sequence[float]) -> Guidance:
        return self if self.weight == 1 or self.momentum == 0 else _Remembering(self)

    def combined(self, x0_cond: Images, x0_uncond: Images, z: Images, level: NoiseLevel) -> Images:
        return self.stepped(x0_cond, x0_cond - x0_uncond)

    def stepped(self, x0_cond: Images, step: Images) -> Images:
        """The guided estimate, from the conditional one and the step to it, momentum included."""
        if self.norm_threshold is not None:
            size = step.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            step = step * (self.norm_threshold / size.clamp_min(1e-12)).clamp_max(1)
        along = x0_cond * (inner(step, x0_cond) / inner(x0_cond, x0_cond).clamp_min(1e-12))
        return x0_cond + (self.weight - 1) * (step - (1 - self.eta) * along)


class _Remembering:
    """The rule for one batch of pictures, with the sum of its steps so far."""

    def __init__(self, rule: ProjectedGuidance) -> None:
        self._rule = rule
        self._sum: Images | None = None

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        x0_cond, x0_uncond = self._rule.both(denoiser, z, level, conditioning)
        before = torch.zeros_like(x0_cond) if self._sum is None else self._sum
        self._sum = x0_cond - x0_uncond + self._rule.momentum * before
        return self._rule.stepped(x0_cond, self._sum)
