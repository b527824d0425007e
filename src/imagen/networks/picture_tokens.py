"""The embedding of a picture as tokens beside the text (unCLIP, Ramesh et al. 2022, section 2.1)."""

import torch
import torch.nn.functional as F
from torch import nn

from imagen.diffusion.unclip.vectors import VectorSignal
from imagen.networks.text_context import TextContext

TOKENS = 4
"""As in the paper."""


class PictureTokens(nn.Module):
    """Projects a vector to `TOKENS` tokens, which follow those of the text. Without a vector they are invisible.

    Args:
        features: width of the vector.
        text_features: width of a token.
    """

    def __init__(self, features: int, text_features: int) -> None:
        super().__init__()
        self.to_tokens = nn.Linear(features, TOKENS * text_features)

    def forward(self, text: TextContext, picture: VectorSignal) -> TextContext:
        """The tokens of both. `present` stays that of the text."""
        tokens = self.to_tokens(picture.values).unflatten(1, (TOKENS, -1))
        tokens = F.layer_norm(tokens.float(), tokens.shape[-1:]).to(text.tokens.dtype)  # as those of the text are
        bias = torch.zeros(len(tokens), 1, 1, TOKENS, dtype=text.bias.dtype, device=text.bias.device)
        bias = bias.masked_fill(~picture.present[:, None, None, None], -torch.inf)
        return TextContext(torch.cat([text.tokens, tokens], dim=1), torch.cat([text.bias, bias], dim=-1), text.present)
