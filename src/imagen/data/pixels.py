"""The two conversions between float images and uint8 pixels; the project has no others.

Every file, picture and metric uses `to_uint8`; every picture that is read uses `from_uint8`.
"""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from imagen.errors import UserError
from imagen.tensors import Images, Pixels

PixelArray = UInt8[np.ndarray, "batch height width channels"]
"""Pictures as stored in files."""


def to_uint8(images: Images) -> PixelArray:
    """Pixels of `images` in [-1, 1]: clamp, scale to [0, 255], round.

    Raises:
        UserError: if a value is NaN or infinite; it would silently become a black pixel.
    """
    images = images.detach().float().cpu()
    if not torch.isfinite(images).all():
        broken = (~torch.isfinite(images)).flatten(1).any(dim=1).nonzero().flatten().tolist()
        raise UserError(
            f"pictures {broken[:8]} of a batch of {len(images)} hold NaN or infinity: the model has diverged; "
            "use an earlier checkpoint or a lower learning rate"
        )
    return rounded(images).numpy()


def rounded(images: Images) -> UInt8[Tensor, "batch height width channels"]:
    """`to_uint8` as a tensor on the device of `images`, which must be finite: to look would be to wait for a GPU."""
    scaled = (images.float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def from_uint8(pixels: PixelArray) -> Images:
    """Images, float32 in [-1, 1]: 0 becomes -1, 255 becomes 1. `to_uint8` gives the same pixels back."""
    channels_first = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    return channels_first.contiguous().float().div_(127.5).sub_(1.0)


def as_pixels(pictures: Tensor | np.ndarray) -> Pixels:
    """Pictures from a sampler or a source as one uint8 tensor on the CPU.

    Raises UserError unless they are uint8 of shape (n, height, width, 3): another rounding would change the metric.
    """
    tensor = torch.as_tensor(np.ascontiguousarray(pictures) if isinstance(pictures, np.ndarray) else pictures).cpu()
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[-1] != 3:
        raise UserError(
            f"pictures to evaluate must be uint8 (n, height, width, 3), found {tensor.dtype} {tuple(tensor.shape)}; "
            "pass them through imagen.data.pixels.to_uint8"
        )
    return tensor
