"""What both networks do with their input before the first block."""

from collections.abc import Sequence

import torch
from torch import Tensor

from imagen.diffusion.conditioning import Conditioning, ImageSignal, resize
from imagen.errors import UserError
from imagen.networks.levels import LevelSpec
from imagen.tensors import Images


def total_stride(levels: Sequence[LevelSpec]) -> int:
    """The factor between the sides of the image and of the lowest level."""
    stride = 1
    for level in levels:
        stride *= level.stride
    return stride


def check_names(concatenated: Sequence[str], pooled: Sequence[str]) -> None:
    """Raises UserError if a name of an image signal occurs twice or is that of another signal, or if what should be a
    list of names is a single text."""
    for key, names in (("concatenated", concatenated), ("pooled", pooled)):
        both = [*concatenated, *pooled, "text", "low_res"]
        if isinstance(names, str) or len(set(both)) != len(both):
            raise UserError(f"{key} is {names!r}; list the names of image signals, each once, without text and low_res")


def stack_images(
    z: Images,
    conditioning: Conditioning,
    low_res: bool,
    stride: int,
    concatenated: Sequence[str] = (),
    pooled: Sequence[str] = (),
) -> Tensor:
    """z, the low-resolution image if there is one, and the `concatenated` signals in that order, in channels_last:
    (batch, channels × number of images, height, width).

    A signal that is dropped is mid-grey, zeros, and has no channel that says so (as in InstructPix2Pix, Brooks et al.
    2023): the only picture that it could be mistaken for is grey all over, and such a picture tells nothing.

    `pooled` names the image signals that the network reads elsewhere.

    Raises:
        UserError: if the image's sides are not multiples of `stride`, or if the low-resolution image or another image
            is missing or superfluous.
    """
    if z.shape[-2] % stride or z.shape[-1] % stride:
        raise UserError(f"images of {z.shape[-2]} x {z.shape[-1]}: each side must be a multiple of {stride}")
    if low_res != ("low_res" in conditioning):
        wanted, given = ("needs a", "none") if low_res else ("takes no", "one")
        raise UserError(f"this network {wanted} low-resolution image but was given {given}: is it the right stage?")
    given = [name for name, signal in conditioning.items() if isinstance(signal, ImageSignal)]
    read = [*concatenated, *pooled]
    if set(given) != set(read):
        raise UserError(
            f"this network reads {_listed(read)} beside the noisy image but was given {_listed(given)}: its arguments "
            "concatenated and pooled, and the conditioner of the stage, must name the same"
        )
    images = [z, conditioning["low_res"].image] if low_res else [z]
    images += [resize(conditioning[name].images, (z.shape[-2], z.shape[-1])) for name in concatenated]
    return torch.cat(images, dim=1).contiguous(memory_format=torch.channels_last)


def _listed(names: Sequence[str]) -> str:
    return f"the image signals {', '.join(names)}" if names else "no image signal"
