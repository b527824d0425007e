"""CFG-Zero*: the unconditional velocity scaled to fit the conditional one."""

from dataclasses import dataclass

import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.rules.two_estimates import TwoEstimates, inner
from imagen.tensors import Images


@dataclass(frozen=True, kw_only=True)
class ZeroStarGuidance(TwoEstimates):
    """CFG-Zero* (Fan et al. 2025, 2503.18886, algorithm 1).

        u = s u_uncond + weight (u_cond - s u_uncond),   s = <u_cond, u_uncond> / |u_uncond|²

    with u = eps - x0, the velocity of the straight path. A path of any other schedule is the straight one but for the
    scale of z, with the same eps and x0, so the rule needs no schedule. Unlike classifier-free guidance it depends on
    what is combined: s is not the same for x0, eps or v.

    Args:
        zero_below: where log-SNR is below it, the velocity is 0 and z keeps its direction ("zero-init": the paper's
            first step). The estimate of x0 is then z itself but for its scale, which thresholding may change. None is
            nowhere. A weight of 1 is off there too.
    """

    zero_below: float | int | None = None

    def combined(self, x0_cond: Images, x0_uncond: Images, z: Images, level: NoiseLevel) -> Images:
        cond, uncond = (_velocity(x0, z, level) for x0 in (x0_cond, x0_uncond))
        uncond = uncond * (inner(cond, uncond) / inner(uncond, uncond).clamp_min(1e-12))
        velocity = torch.lerp(uncond, cond, self.weight)
        if self.zero_below is not None:
            still = level.log_snr < self.zero_below
            velocity = torch.where(still[:, None, None, None], 0.0, velocity)
        return (z - level.sigma * velocity) / (level.alpha + level.sigma)


def _velocity(x0: Images, z: Images, level: NoiseLevel) -> Images:
    """eps - x0, with the eps that goes with `x0` in `z`."""
    return (z - level.alpha * x0) / level.sigma - x0
