"""Control pictures that no model made."""

from collections.abc import Sequence

import torch

from imagen.tensors import Pixels


def noise_pictures(seed: int, ids: Sequence[int], resolution: int) -> Pixels:
    """Pictures of independent uniform pixels, uint8 (n, resolution, resolution, 3); picture i depends on (seed, id)."""
    from imagen.randomness import make_generator

    shape = (resolution, resolution, 3)
    pictures = [
        torch.randint(0, 256, shape, generator=make_generator(seed, "noise picture", i), dtype=torch.uint8) for i in ids
    ]
    return torch.stack(pictures)
