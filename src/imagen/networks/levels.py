"""How a U-Net is described: one `LevelSpec` for each resolution, from the image down."""

from dataclasses import dataclass

from imagen.errors import UserError
from imagen.networks.attention import AttentionSpec


@dataclass(frozen=True)
class LevelSpec:
    """One resolution of a U-Net.

    Args:
        channels: width of the level; a multiple of 32, which is what matrix units like.
        num_blocks: residual blocks on the way down. On the way up: one more in `UNet`, as many in `EfficientUNet`.
        attention: what follows residual blocks; None is nothing.
        attention_every: it follows every so many of them: 1 in ADM and Imagen's base network, `num_blocks`, so that it
            comes once, in the Efficient U-Net.
        stride: how many times smaller this level is than the one above it (than the image, for the first).

    Raises:
        UserError: if a number is out of its range.
    """

    channels: int
    num_blocks: int
    attention: AttentionSpec | None = None
    stride: int = 2
    attention_every: int = 1

    def __post_init__(self) -> None:
        if self.channels < 32 or self.channels % 32:
            raise UserError(f"channels={self.channels} of a level must be a positive multiple of 32")
        if self.num_blocks < 1:
            raise UserError(f"num_blocks={self.num_blocks} of a level must be at least 1")
        if self.attention_every < 1:
            raise UserError(f"attention_every={self.attention_every} of a level must be at least 1")
        if self.stride not in (1, 2, 4):
            raise UserError(f"stride={self.stride} of a level must be 1, 2 or 4")

    def attentions(self, num_blocks: int) -> list[AttentionSpec | None]:
        """What follows each of `num_blocks` residual blocks."""
        return [self.attention if (i + 1) % self.attention_every == 0 else None for i in range(num_blocks)]
