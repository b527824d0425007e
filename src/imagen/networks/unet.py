"""The U-Net of Imagen's base model."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.unclip.vectors import PICTURE_EMBEDDING
from imagen.networks.blocks import Block
from imagen.networks.embedding import ConditioningEmbedding
from imagen.networks.inputs import check_names, stack_images, total_stride
from imagen.networks.layers import GroupNorm, zero_init
from imagen.networks.levels import LevelSpec
from imagen.networks.picture_tokens import PictureTokens
from imagen.networks.text_context import TextContext
from imagen.tensors import Images, PerImage


class DownLevel(nn.Module):
    """An entry block where resolution or width changes, and `num_blocks` blocks.

    Returns the features on entry and after each block: num_blocks + 1 skips.
    """

    def __init__(self, above: int, spec: LevelSpec, new_block: Callable[..., Block]) -> None:
        super().__init__()
        changes = spec.stride > 1 or above != spec.channels
        self.entry = new_block(above, spec.channels, down=spec.stride) if changes else None
        self.blocks = nn.ModuleList(
            new_block(spec.channels, spec.channels, attention) for attention in spec.attentions(spec.num_blocks)
        )

    def forward(self, x: Tensor, embedding: Tensor, text: TextContext) -> list[Tensor]:
        features = [x if self.entry is None else self.entry(x, embedding, text)]
        for block in self.blocks:
            features.append(block(features[-1], embedding, text))
        return features


class UpLevel(nn.Module):
    """The mirror of `DownLevel`: a block for each skip, concatenated, and an exit block to the level above."""

    def __init__(self, above: int, spec: LevelSpec, new_block: Callable[..., Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            new_block(2 * spec.channels, spec.channels, attention) for attention in spec.attentions(spec.num_blocks + 1)
        )
        changes = spec.stride > 1 or above != spec.channels
        self.exit = new_block(spec.channels, above, up=spec.stride) if changes else None

    def forward(self, x: Tensor, skips: list[Tensor], embedding: Tensor, text: TextContext) -> Tensor:
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(torch.cat([x, skip], dim=1), embedding, text)
        return x if self.exit is None else self.exit(x, embedding, text)


class UNet(nn.Module):
    """ADM's U-Net with text (Imagen, appendix F), for the base stage.

    Down, a middle of two blocks, and up. The first block of the middle has the attention of the lowest level.

    Args:
        levels: from the image down.
        text_features: width of the text embeddings.
        embedding_features: width of the noise-level embedding, to which the pooled text is added.
        low_res: whether a low-resolution image is concatenated to z, and its noise level added to the embedding.
        channels: of the images.
        checkpointing: recompute each block in the backward pass instead of keeping its activations.
        concatenated: names of the image signals (`ImageSignal`) that are also concatenated to z, resized to its size.
        pooled: names of the image signals that are summed up in a vector, which is added to the embedding.
        guidance: whether the weight of guidance, the signal `guidance`, is added to the embedding as well.
        picture_embedding: width of the signal `picture_embedding`, a vector that is added to the embedding and read as
            four tokens beside the text (unCLIP, section 2.1); None: it is not read.

    Raises:
        UserError: as `check_names`.
    """

    def __init__(
        self,
        levels: Sequence[LevelSpec],
        text_features: int,
        embedding_features: int,
        low_res: bool = False,
        channels: int = 3,
        checkpointing: bool = False,
        concatenated: Sequence[str] = (),
        pooled: Sequence[str] = (),
        guidance: bool = False,
        picture_embedding: int | None = None,
    ) -> None:
        super().__init__()
        check_names(concatenated, pooled)
        new_block = partial(
            Block, embedding_features=embedding_features, text_features=text_features, checkpointing=checkpointing
        )
        self.stride, self.concatenated, self.pooled = total_stride(levels), tuple(concatenated), tuple(pooled)
        self.embedding = ConditioningEmbedding(
            embedding_features, text_features, low_res, pooled, channels, guidance, picture_embedding
        )
        self.picture_tokens = None if picture_embedding is None else PictureTokens(picture_embedding, text_features)
        self.stem = nn.Conv2d(
            channels * (1 + low_res + len(concatenated)), levels[0].channels, kernel_size=3, padding=1
        )
        above = [levels[0].channels] + [level.channels for level in levels[:-1]]
        pairs = list(zip(above, levels, strict=True))
        self.down = nn.ModuleList(DownLevel(width, level, new_block) for width, level in pairs)
        lowest = levels[-1]
        self.middle = nn.ModuleList(
            new_block(lowest.channels, lowest.channels, attention) for attention in (lowest.attention, None)
        )
        self.up = nn.ModuleList(UpLevel(width, level, new_block) for width, level in reversed(pairs))
        self.norm = GroupNorm(levels[0].channels)
        self.to_out = zero_init(nn.Conv2d(levels[0].channels, channels, kernel_size=3, padding=1))

    def forward(self, z: Images, log_snr: PerImage, conditioning: Conditioning) -> Images:
        """The prediction for noisy images `z` at `log_snr`, shape (batch,); same shape as `z`.

        Raises:
            UserError: as `stack_images`; if a guidance weight or a picture's embedding is missing or superfluous.
        """
        low_res = self.embedding.low_res is not None
        x = self.stem(stack_images(z, conditioning, low_res, self.stride, self.concatenated, self.pooled))
        text = TextContext.of(conditioning["text"], x.dtype)
        embedding = self.embedding(log_snr, text, conditioning)
        if self.picture_tokens is not None:
            text = self.picture_tokens(text, conditioning[PICTURE_EMBEDDING])
        skips = []
        for down in self.down:
            skips.append(down(x, embedding, text))
            x = skips[-1][-1]
        for block in self.middle:
            x = block(x, embedding, text)
        for up in self.up:
            x = up(x, skips.pop(), embedding, text)
        return self.to_out(F.silu(self.norm(x), inplace=True))
