"""The Efficient U-Net of Imagen's super-resolution models."""

from collections.abc import Callable, Sequence
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from imagen.diffusion.conditioning import Conditioning
from imagen.networks.blocks import Block
from imagen.networks.embedding import ConditioningEmbedding
from imagen.networks.inputs import check_names, stack_images, total_stride
from imagen.networks.layers import GroupNorm, UpsamplingConv, zero_init
from imagen.networks.levels import LevelSpec
from imagen.networks.text_context import TextContext
from imagen.tensors import Images, PerImage

SKIP_SCALE = 2**-0.5


class CombineEmbs(nn.Module):
    """Adds the embedding to every pixel of a level (Imagen, figures A.28 and A.29)."""

    def __init__(self, channels: int, embedding_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding_features, channels)

    def forward(self, x: Images, embedding: Float[Tensor, "batch features"]) -> Images:
        return x + self.linear(embedding)[:, :, None, None]


class Stack(nn.Module):
    """CombineEmbs, `num_blocks` residual blocks, attention: what DBlock and UBlock share."""

    def __init__(self, spec: LevelSpec, embedding_features: int, new_block: Callable[..., Block]) -> None:
        super().__init__()
        self.combine = CombineEmbs(spec.channels, embedding_features)
        self.blocks = nn.ModuleList(
            new_block(spec.channels, spec.channels, attention) for attention in spec.attentions(spec.num_blocks)
        )

    def forward(self, x: Images, embedding: Tensor, text: TextContext) -> Images:
        x = self.combine(x, embedding)
        for block in self.blocks:
            x = block(x, embedding, text)
        return x


def strided_conv(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    """A convolution that sees every pixel at any stride."""
    kernel_size = max(3, stride)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=(kernel_size - stride + 1) // 2)


class EfficientUNet(nn.Module):
    """Imagen's Efficient U-Net (appendix B): most of the work and of the parameters at low resolution.

    On the way down a level is a strided convolution followed by its blocks; on the way up, its blocks followed by an
    upsampling convolution. The input of a level on the way up is added to its own output on the way down, times 1/√2.
    The stem counts as the level above the first.

    Args:
        levels: from the image down; the published networks have stride 2 at the first already.
        text_features: width of the text embeddings.
        embedding_features: width of the noise-level embedding, to which the pooled text is added.
        stem_channels: width at full resolution.
        low_res: whether a low-resolution image is concatenated to z, and its noise level added to the embedding.
        channels: of the images.
        checkpointing: recompute each block in the backward pass instead of keeping its activations.
        concatenated: names of the image signals (`ImageSignal`) that are also concatenated to z, resized to its size.
        pooled: names of the image signals that are summed up in a vector, which is added to the embedding.
        guidance: whether the weight of guidance, the signal `guidance`, is added to the embedding as well.

    Raises:
        UserError: as `check_names`.
    """

    def __init__(
        self,
        levels: Sequence[LevelSpec],
        text_features: int,
        embedding_features: int,
        stem_channels: int,
        low_res: bool = True,
        channels: int = 3,
        checkpointing: bool = False,
        concatenated: Sequence[str] = (),
        pooled: Sequence[str] = (),
        guidance: bool = False,
    ) -> None:
        super().__init__()
        check_names(concatenated, pooled)
        new_block = partial(
            Block, embedding_features=embedding_features, text_features=text_features, checkpointing=checkpointing
        )
        self.stride, self.concatenated, self.pooled = total_stride(levels), tuple(concatenated), tuple(pooled)
        self.embedding = ConditioningEmbedding(embedding_features, text_features, low_res, pooled, channels, guidance)
        self.stem = nn.Conv2d(channels * (1 + low_res + len(concatenated)), stem_channels, kernel_size=3, padding=1)
        above = [stem_channels] + [level.channels for level in levels[:-1]]
        pairs = list(zip(above, levels, strict=True))
        self.shrink = nn.ModuleList(strided_conv(width, level.channels, level.stride) for width, level in pairs)
        self.down = nn.ModuleList(Stack(level, embedding_features, new_block) for level in levels)
        self.up = nn.ModuleList(Stack(level, embedding_features, new_block) for level in levels)
        self.grow = nn.ModuleList(UpsamplingConv(level.channels, width, level.stride) for width, level in pairs)
        self.norm = GroupNorm(stem_channels)
        self.to_out = zero_init(nn.Conv2d(stem_channels, channels, kernel_size=3, padding=1))

    def forward(self, z: Images, log_snr: PerImage, conditioning: Conditioning) -> Images:
        """The prediction for noisy images `z` at `log_snr`, shape (batch,); same shape as `z`.

        Raises:
            UserError: as `stack_images`; if a guidance weight is missing or superfluous.
        """
        low_res = self.embedding.low_res is not None
        x = self.stem(stack_images(z, conditioning, low_res, self.stride, self.concatenated, self.pooled))
        text = TextContext.of(conditioning["text"], x.dtype)
        embedding = self.embedding(log_snr, text, conditioning)
        skips = []
        for shrink, down in zip(self.shrink, self.down, strict=True):
            skips.append(x)
            x = down(shrink(x), embedding, text)
        for up, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            x = grow(up(x, embedding, text)).add(skips.pop(), alpha=SKIP_SCALE)
        return self.to_out(F.silu(self.norm(x), inplace=True))
