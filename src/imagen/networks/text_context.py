"""The caption as the networks read it: normalised once, its padding invisible to every attention."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float

from imagen.diffusion.conditioning import TextSignal
from imagen.tensors import Text


@dataclass(frozen=True)
class TextContext:
    """Text tokens ready for attention.

    `tokens` (batch, tokens, features) are normalised by a LayerNorm (Imagen, section 2.5). It has no gain and offset,
    since linear layers follow: one normalisation serves every attention and the pooling. `bias` (batch, 1, 1, tokens)
    is added to attention logits: 0 at a token, -inf at padding, which gets exactly no attention.
    `present` (batch, 1) is 1 for an image with text and 0 for one without.
    """

    tokens: Text
    bias: Float[torch.Tensor, "batch 1 1 tokens"]
    present: Float[torch.Tensor, "batch 1"]

    @classmethod
    def of(cls, text: TextSignal, dtype: torch.dtype) -> "TextContext":
        """The signal `text`, in the `dtype` that the network computes in."""
        tokens = F.layer_norm(text.values.float(), text.values.shape[-1:]).to(dtype)
        mask = text.mask
        bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)
        return cls(tokens, bias[:, None, None, :], mask.any(dim=1, keepdim=True).to(dtype))
