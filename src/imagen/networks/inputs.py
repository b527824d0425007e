"""What both networks do with their input before the first block."""

from collections.abc import Sequence

import torch
from torch import Tensor

from imagen.diffusion.conditioning import Conditioning
from imagen.errors import UserError
from imagen.networks.levels import LevelSpec
from imagen.tensors import Images


def total_stride(levels: Sequence[LevelSpec]) -> int:
    """The factor between the sides of the image and of the lowest level."""
    stride = 1
    for level in levels:
        stride *= level.stride
    return stride


def stack_images(z: Images, conditioning: Conditioning, low_res: bool, stride: int) -> Tensor:
    """z, concatenated with the low-resolution image if there is one, in channels_last: (batch, channels × 1 or 2, ...).

    Raises:
        UserError: if the image's sides are not multiples of `stride`, or if the low-resolution image is missing or
            superfluous.
    """
    if z.shape[-2] % stride or z.shape[-1] % stride:
        raise UserError(f"images of {z.shape[-2]} x {z.shape[-1]}: each side must be a multiple of {stride}")
    if low_res != ("low_res" in conditioning):
        wanted, given = ("needs a", "none") if low_res else ("takes no", "one")
        raise UserError(f"this network {wanted} low-resolution image but was given {given}: is it the right stage?")
    if low_res:
        z = torch.cat([z, conditioning["low_res"].image], dim=1)
    return z.contiguous(memory_format=torch.channels_last)
