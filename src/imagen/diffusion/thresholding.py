"""Thresholding: keeps estimates of x0 inside the range of images, [-1, 1] (Imagen, section 2.3).

High guidance weights push estimates out of the range the network was trained on; samplers feed the thresholded x0
back, so an excess does not grow from step to step.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from imagen.errors import UserError
from imagen.tensors import Images


@runtime_checkable
class Thresholding(Protocol):
    def __call__(self, x0: Images) -> Images:
        """The estimate, brought into range."""
        ...


@dataclass(frozen=True)
class NoThresholding:
    """Leaves the estimate alone."""

    def __call__(self, x0: Images) -> Images:
        return x0


@dataclass(frozen=True)
class StaticThresholding:
    """Clips to [-1, 1]. Prevents blank images at high guidance weights, but saturates colours."""

    def __call__(self, x0: Images) -> Images:
        return x0.clamp(-1, 1)


@dataclass(frozen=True)
class DynamicThresholding:
    """Clips each image to [-s, s] and divides by s, the given percentile of its absolute pixel values, at least 1.

    Args:
        percentile: as a fraction; the paper's is 0.995 (figure A.10).
        cap: the largest s; values beyond it are clipped. None, as in the paper, is no cap; 1 makes this static
            thresholding. DeepFloyd IF's stages have one.

    Raises:
        UserError: unless percentile is in (0, 1] and cap at least 1.
    """

    percentile: float = 0.995
    cap: float | None = field(default=None, metadata={"added_later": True})

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 1:
            raise UserError(
                f"percentile of dynamic thresholding is {self.percentile}; "
                "it is a fraction in (0, 1], such as 0.995 for the 99.5th percentile"
            )
        if self.cap is not None and not 1 <= self.cap < math.inf:
            raise UserError(f"cap of dynamic thresholding is {self.cap}; it must be at least 1, or null for none")

    def __call__(self, x0: Images) -> Images:
        limit = x0.flatten(1).abs().quantile(self.percentile, dim=1).clamp(1, self.cap)[:, None, None, None]
        return x0.clamp(-limit, limit) / limit
