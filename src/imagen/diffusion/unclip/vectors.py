"""A vector as a signal: the embedding of a picture or of a caption (unCLIP, Ramesh et al. 2022)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from imagen.diffusion.conditioning import Signal
from imagen.tensors import Vectors

PICTURE_EMBEDDING, CAPTION_EMBEDDING = "picture_embedding", "caption_embedding"
"""Names of signals: CLIP's vector of a picture, and of a caption."""


@dataclass(frozen=True)
class VectorSignal(Signal):
    """A vector for each image. Without it zeros, and `present` is False."""

    values: Vectors
    present: Bool[Tensor, "batch"]

    @classmethod
    def of(cls, values: Vectors) -> "VectorSignal":
        """`values` for every image."""
        return cls(values, torch.ones(len(values), dtype=torch.bool, device=values.device))

    def null(self) -> "VectorSignal":
        return VectorSignal(torch.zeros_like(self.values), torch.zeros_like(self.present))
