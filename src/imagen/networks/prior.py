"""unCLIP's prior: from a caption to the embedding of a picture (Ramesh et al. 2022, section 2.2)."""

import torch
import torch.nn.functional as F
from torch import nn

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.unclip.vectors import CAPTION_EMBEDDING, VectorSignal
from imagen.errors import UserError
from imagen.networks.embedding import LogSNREmbedding
from imagen.networks.layers import zero_init
from imagen.networks.text_context import TextContext
from imagen.tensors import Images, PerImage

SPECIAL = 5
"""Tokens besides the caption's: a first one, the caption's embedding, the noise level, z, and the query."""


class PriorTransformer(nn.Module):
    """A causal transformer over [first, tokens of the caption, embedding of the caption, noise level, z, query]; what
    it makes of the query is its prediction.

    A vector is an image of one pixel, so that schedules, samplers and guidance are those of images: z is of shape
    (batch, features, 1, 1). The first token is there for captions without a token: something must be visible.

    Args:
        features: width of the embeddings.
        text_features: width of a token of the caption.
        width: of the transformer; a multiple of `heads`.
        layers: number of blocks.
        heads: of the attention.

    Raises:
        UserError: if `width` is no multiple of `heads`.
    """

    def __init__(self, features: int, text_features: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"width={width} of the prior must be a multiple of heads={heads}")
        self.from_text = nn.Linear(text_features, width)
        self.from_caption = nn.Linear(features, width)
        self.from_log_snr = LogSNREmbedding(width)
        self.from_z = nn.Linear(features, width)
        self.places = nn.Parameter(torch.empty(SPECIAL, width))
        nn.init.normal_(self.places, std=0.02)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.to_out = zero_init(nn.Linear(width, features))

    def forward(self, z: Images, log_snr: PerImage, conditioning: Conditioning) -> Images:
        """The prediction for noisy vectors `z` at `log_snr`, shape (batch,); same shape as `z`.

        Raises:
            UserError: if a signal is missing.
        """
        caption: VectorSignal = conditioning[CAPTION_EMBEDDING]
        text = TextContext.of(conditioning["text"], self.places.dtype)
        first, query = self.places[0].expand(len(z), -1), self.places[4].expand(len(z), -1)
        told = [self.from_caption(caption.values), self.from_log_snr(log_snr), self.from_z(z.flatten(1))]
        told = [token + place for token, place in zip(told, self.places[1:4], strict=True)]
        tokens = torch.cat([first[:, None], self.from_text(text.tokens), torch.stack([*told, query], dim=1)], dim=1)
        masked = F.pad(torch.isinf(text.bias[:, 0, 0]), (1, SPECIAL - 1))  # the padding of the text
        length = tokens.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=z.device).triu(diagonal=1)
        made = self.blocks(tokens, mask=later, src_key_padding_mask=masked, is_causal=False)
        return self.to_out(made[:, -1])[:, :, None, None]
