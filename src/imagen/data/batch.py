"""The batch that the DataModule gives to every stage."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from imagen.devices import moved
from imagen.diffusion.conditioning import OtherSizeImages
from imagen.tensors import Ids, Images, Text, TextMask


@dataclass(frozen=True)
class Batch:
    """Images with embedded captions.

    `images` are float32 in [-1, 1]; `text` is zero where `text_mask` is False; `ids` are indices into the source;
    `position` counts the batches (micro-batches) of this run from 0, the same on every rank: all random numbers for
    this batch depend on it, the seed and the rank. `condition` are further pictures to condition on, one for each image
    and cut as it was; None where the data hold none. `large` are the pictures before they were reduced to the stage;
    None where nobody looks at them.
    """

    images: Images
    text: Text
    text_mask: TextMask
    ids: Ids
    captions: tuple[str, ...]
    position: int
    condition: Images | None = None
    large: OtherSizeImages | None = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch on another device. Lightning calls this. Neither side waits, whatever `non_blocking`."""
        return self._with_each(lambda tensor: moved(tensor, device))

    def pinned(self) -> "Batch":
        """The same batch in pinned memory, from which a GPU reads by itself."""
        return self._with_each(Tensor.pin_memory)

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        names = ("images", "text", "text_mask", "ids", "condition", "large")
        tensors = {name: tensor for name in names if (tensor := getattr(self, name)) is not None}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items()})
