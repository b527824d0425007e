"""The residual block of both networks."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from imagen.networks.attention import AttentionSpec
from imagen.networks.layers import Downsample, GroupNorm, ScaleShiftNorm, Upsample, UpsamplingConv, zero_init
from imagen.networks.text_context import TextContext


class ResidualBlock(nn.Module):
    """norm, SiLU, resize, conv, scale-shift norm, SiLU, conv, added to a shortcut (BigGAN's block, as in ADM).

    Within the block, and in both branches, the image is reduced `down` times by averaging, or enlarged `up` times by
    nearest neighbour. The second convolution starts at zero.
    """

    def __init__(
        self, in_channels: int, out_channels: int, embedding_features: int, down: int = 1, up: int = 1
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(in_channels)
        self.shrink = Downsample(down)
        self.conv1 = UpsamplingConv(in_channels, out_channels, up)
        self.norm2 = ScaleShiftNorm(out_channels, embedding_features)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1))
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
        self.enlarge = Upsample(up)

    def forward(
        self, x: Float[Tensor, "batch in_channels in_height in_width"], embedding: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        h = self.conv1(self.shrink(F.silu(self.norm1(x), inplace=True)))
        h = self.conv2(F.silu(self.norm2(h, embedding), inplace=True))
        return self.enlarge(self.shortcut(self.shrink(x))) + h  # 1 × 1 and nearest neighbour commute


class Block(nn.Module):
    """A residual block and, where the level has it, attention. The unit of activation checkpointing."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        attention: AttentionSpec | None = None,
        *,
        down: int = 1,
        up: int = 1,
        embedding_features: int,
        text_features: int,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.residual = ResidualBlock(in_channels, out_channels, embedding_features, down, up)
        self.attention = attention.build(out_channels, text_features) if attention is not None else None
        self.checkpointing = checkpointing

    def forward(
        self,
        x: Float[Tensor, "batch in_channels in_height in_width"],
        embedding: Float[Tensor, "batch features"],
        text: TextContext,
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        if self.checkpointing and self.training:
            return checkpoint(self._forward, x, embedding, text, use_reentrant=False)
        return self._forward(x, embedding, text)

    def _forward(self, x: Tensor, embedding: Tensor, text: TextContext) -> Tensor:
        x = self.residual(x, embedding)
        return x if self.attention is None else self.attention(x, text)
