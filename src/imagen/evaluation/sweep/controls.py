"""Pictures that no model made: what the numbers of a sweep are held against."""

from collections.abc import Sequence

import torch

from imagen.tensors import Pixels


def noise_pictures(seed: int, ids: Sequence[int], resolution: int) -> Pixels:
    """Independent uniform pixels: what a broken model would give at best."""
    from imagen.randomness import make_generator

    shape = (resolution, resolution, 3)
    pictures = [
        torch.randint(0, 256, shape, generator=make_generator(seed, "noise picture", i), dtype=torch.uint8) for i in ids
    ]
    return torch.stack(pictures)
