"""A network that is no U-Net: a transformer on patches of pixels (DiT, Peebles & Xie 2023), as somebody may add it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagen.diffusion.conditioning import Conditioning
from imagen.networks.attention import as_images, as_tokens, positions
from imagen.networks.embedding import ConditioningEmbedding
from imagen.networks.inputs import stack_images
from imagen.networks.layers import zero_init
from imagen.networks.multi_head import attend
from imagen.networks.text_context import TextContext
from imagen.tensors import Images, PerImage

POSITION_FEATURES = 16


class TransformerBlock(nn.Module):
    """Attention to patches and text, then an MLP; both are scaled, shifted and gated by the embedding (adaLN-zero)."""

    def __init__(self, width: int, heads: int, text_features: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = zero_init(nn.Linear(width, 6 * width))
        self.to_qkv, self.text_to_kv = nn.Linear(width, 3 * width), nn.Linear(text_features, 2 * width)
        self.to_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, embedding: Tensor, text: TextContext) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(embedding)[:, None].chunk(6, dim=-1)
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale1) + shift1
        query, key, value = self.to_qkv(h).chunk(3, dim=-1)
        text_key, text_value = self.text_to_kv(text.tokens).chunk(2, dim=-1)
        key, value = torch.cat([key, text_key], dim=1), torch.cat([value, text_value], dim=1)
        x = x + gate1 * self.to_out(attend(query, key, value, F.pad(text.bias, (x.shape[1], 0)), self.heads))
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale2) + shift2
        return x + gate2 * self.mlp(h)


class PixelTransformer(nn.Module):
    """Reads the signals `text` and, with `low_res`, `low_res`.

    Args:
        patch: side of a patch in pixels.
        width, depth, heads: of the transformer.
        text_features: width of the text embeddings.
    """

    def __init__(
        self, patch: int, width: int, depth: int, heads: int, text_features: int, low_res: bool = False
    ) -> None:
        super().__init__()
        self.low_res, self.patch = low_res, patch
        self.embedding = ConditioningEmbedding(width, text_features, low_res)
        self.to_patches = nn.Conv2d(3 * (1 + low_res), width, patch, patch)
        self.position = nn.Linear(POSITION_FEATURES, width, bias=False)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, text_features) for _ in range(depth))
        self.to_pixels = zero_init(nn.Linear(width, 3 * patch**2))

    def forward(self, z: Images, log_snr: PerImage, conditioning: Conditioning) -> Images:
        patches = self.to_patches(stack_images(z, conditioning, self.low_res, self.patch))
        height, width = patches.shape[-2:]
        x = as_tokens(patches) + self.position(positions(height, width, z.device).to(patches.dtype))
        text = TextContext.of(conditioning["text"], x.dtype)
        embedding = self.embedding(log_snr, text, conditioning)
        for block in self.blocks:
            x = block(x, embedding, text)
        return F.pixel_shuffle(as_images(self.to_pixels(x), height, width), self.patch)
