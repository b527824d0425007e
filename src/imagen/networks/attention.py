"""Attention between pixels, and from pixels to text."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from imagen.errors import UserError
from imagen.networks.layers import GroupNorm, zero_init
from imagen.networks.multi_head import Attend, attend, attend_linearly
from imagen.networks.text_context import TextContext
from imagen.tensors import Images


def as_tokens(images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch pixels channels"]:
    """Pixels as a sequence; no copy in channels_last."""
    return images.permute(0, 2, 3, 1).flatten(1, 2)


def as_images(
    tokens: Float[Tensor, "batch pixels channels"], height: int, width: int
) -> Float[Tensor, "batch channels {height} {width}"]:
    """The inverse of `as_tokens`; the result is channels_last."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


POSITION_FREQUENCIES = 4


def positions(height: int, width: int, device: torch.device) -> Float[Tensor, "pixels features"]:
    """The position of each pixel: cosines and sines of 1 to 4 half turns from edge to edge, for its row and its column.

    Relative to the size of the picture, so they mean the same at every resolution.
    """
    half_turns = math.pi * torch.arange(1, POSITION_FREQUENCIES + 1, device=device)
    angles = [(torch.arange(side, device=device) + 0.5)[:, None] / side * half_turns for side in (height, width)]
    rows, columns = (torch.cat([angle.cos(), angle.sin()], dim=1) for angle in angles)
    return torch.cat([rows.repeat_interleave(width, dim=0), columns.repeat(height, 1)], dim=1)


class SelfAttention(nn.Module):
    """Self-attention whose keys and values also hold the text tokens (Imagen, appendix D.3.1).

    Without text (all tokens masked, or no tokens at all) it is plain self-attention. With `positions`, the position of
    each pixel is added to its query, key and value. Without `text_features`, pixels attend to pixels alone. `attend` is
    how queries and keys make weights.
    """

    def __init__(
        self,
        channels: int,
        text_features: int | None,
        heads: int,
        hidden: int,
        positions: bool = False,
        attend: Attend = attend,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.hidden = hidden
        self.attend = attend
        self.norm = GroupNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * hidden)
        self.position_to_qkv = nn.Linear(4 * POSITION_FREQUENCIES, 3 * hidden, bias=False) if positions else None
        self.text_to_kv = None if text_features is None else nn.Linear(text_features, 2 * hidden)
        self.to_out = zero_init(nn.Linear(hidden, channels))

    def forward(self, x: Images, text: TextContext) -> Images:
        height, width = x.shape[-2:]
        qkv = self.to_qkv(as_tokens(self.norm(x)))
        if self.position_to_qkv is not None:
            qkv = qkv + self.position_to_qkv(positions(height, width, x.device).to(x.dtype))
        query, key_value = qkv.split([self.hidden, 2 * self.hidden], dim=-1)
        bias = None
        if self.text_to_kv is not None:
            key_value = torch.cat([key_value, self.text_to_kv(text.tokens)], dim=1)
            bias = F.pad(text.bias, (height * width, 0))
        key, value = key_value.chunk(2, dim=-1)
        out = self.attend(query, key, value, bias, self.heads)
        return x + as_images(self.to_out(out), height, width)


class CrossAttention(nn.Module):
    """Pixels attend to the text only (Imagen's 256→1024 network).

    An additional key, always visible and with the value zero, takes all the attention of an image without text: the
    result is then zero and not NaN.
    """

    def __init__(self, channels: int, text_features: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(channels)
        self.to_q = nn.Linear(channels, hidden)
        self.text_to_kv = nn.Linear(text_features, 2 * hidden)
        self.null_key = nn.Parameter(torch.zeros(hidden))
        self.to_out = zero_init(nn.Linear(hidden, channels, bias=False))

    def forward(self, x: Images, text: TextContext) -> Images:
        height, width = x.shape[-2:]
        query = self.to_q(as_tokens(self.norm(x)))
        key, value = self.text_to_kv(text.tokens).chunk(2, dim=-1)
        null = self.null_key.to(key.dtype).expand(key.shape[0], 1, -1)
        key, value = torch.cat([key, null], dim=1), F.pad(value, (0, 0, 0, 1))
        out = attend(query, key, value, F.pad(text.bias, (0, 1)), self.heads)
        return x + as_images(self.to_out(out), height, width)


class InTurn(nn.Module):
    """One attention after the other."""

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Images, text: TextContext) -> Images:
        for part in self.parts:
            x = part(x, text)
        return x


class AttentionSpec(ABC):
    """Which attention follows the residual blocks of a level."""

    @abstractmethod
    def build(self, channels: int, text_features: int) -> nn.Module:
        """The attention of a level, a module called with (x, text)."""


@dataclass(frozen=True)
class MultiHeadSpec(AttentionSpec):
    """Attention in heads.

    Args:
        head_channels: width of a head.
        expansion: hidden width of the attention, in units of the level's channels.
    """

    head_channels: int = 64
    expansion: int = 1

    def _heads(self, channels: int) -> tuple[int, int]:
        hidden = self.expansion * channels
        if self.head_channels < 1 or hidden % self.head_channels:
            raise UserError(f"head_channels={self.head_channels} must divide the attention's width, {hidden}")
        return hidden // self.head_channels, hidden


@dataclass(frozen=True)
class SelfAttentionSpec(MultiHeadSpec):
    """Self-attention with the text in its keys and values.

    Args:
        positions: add the pixel's position. The paper's networks have none: their convolutions infer it from the zero
            padding, which a small network learns slowly (docs/explanation/noise_and_composition.md). Only for networks
            that are trained on whole pictures, not on crops.
        text: False leaves the text out: pixels attend to pixels alone.
    """

    positions: bool = False
    text: bool = True

    def build(self, channels: int, text_features: int) -> nn.Module:
        read = text_features if self.text else None
        return SelfAttention(channels, read, *self._heads(channels), self.positions)


@dataclass(frozen=True)
class LinearAttentionSpec(MultiHeadSpec):
    """Self-attention with the text in its keys and values, at a cost linear in the number of pixels.

    For levels with so many pixels that `SelfAttentionSpec`, whose cost grows with their square, takes too much memory.
    A head has `head_channels` maps over all pixels and tokens, and each pixel gets a mixture of what they see: less
    than a map of its own.

    Args:
        positions: as in `SelfAttentionSpec`.
        text: as in `SelfAttentionSpec`.
    """

    positions: bool = False
    text: bool = True

    def build(self, channels: int, text_features: int) -> nn.Module:
        read = text_features if self.text else None
        return SelfAttention(channels, read, *self._heads(channels), self.positions, attend_linearly)


class CrossAttentionSpec(MultiHeadSpec):
    """Attention to the text only."""

    def build(self, channels: int, text_features: int) -> nn.Module:
        return CrossAttention(channels, text_features, *self._heads(channels))


@dataclass(frozen=True)
class InTurnSpec(AttentionSpec):
    """One attention after the other, such as self-attention and then cross-attention.

    Raises:
        UserError: if there is none.
    """

    parts: Sequence[AttentionSpec]

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError("parts=[] of InTurnSpec: name at least one attention, or write attention: null")

    def build(self, channels: int, text_features: int) -> nn.Module:
        return InTurn(part.build(channels, text_features) for part in self.parts)
