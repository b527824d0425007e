"""How long pictures took to sample, and on what."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

DIGITS = 6
"""After the point of a number of seconds: more is noise."""


class Timing(NamedTuple):
    """Seconds of sampling of one picture, all stages, and where: `device` is the name of a GPU, or cpu; None if the
    sampler does not say. Pictures that were sampled together share their seconds equally."""

    seconds: float
    device: str | None
    threads: int


@dataclass(frozen=True)
class Timed:
    """Pictures, uint8 (n, height, width, 3), of a sampler that knows their time better than a clock around it: a stage
    that several cells share counts for each, whoever made it. `seconds`: of all pictures; None: not known."""

    pictures: np.ndarray
    seconds: float | None
    device: str


def timings(seconds: float | None, device: str | None, pictures: int) -> list[Timing | None]:
    """The timing of each of `pictures` that took `seconds` together, on the threads of this process."""
    if seconds is None:
        return [None] * pictures
    return [Timing(round(seconds / pictures, DIGITS), device, torch.get_num_threads())] * pictures


def device_name(device: torch.device) -> str:
    """What seconds depend on: the name of a GPU, the type of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
