"""How a U-Net is described: one `LevelSpec` for each resolution, from the image down."""

from dataclasses import dataclass

from imagen.errors import UserError
from imagen.networks.attention import AttentionSpec


@dataclass(frozen=True)
class LevelSpec:
    """One resolution of a U-Net.

    Args:
        channels: width of the level; a multiple of 32, which matrix units compute fastest.
        num_blocks: residual blocks on the way down. On the way up: one more in `UNet`, as many in `EfficientUNet`.
        attention: the attention that follows residual blocks; None is none.
        attention_every: attention after every n-th residual block. ADM and Imagen's base network have 1; the Efficient
            U-Net has `num_blocks`, that is once a level.
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
        """The attention after each of `num_blocks` residual blocks, None where there is none."""
        return [self.attention if (i + 1) % self.attention_every == 0 else None for i in range(num_blocks)]
