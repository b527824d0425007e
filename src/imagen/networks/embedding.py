"""The vector that tells every block the noise level and a summary of the caption."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.unclip.vectors import PICTURE_EMBEDDING
from imagen.errors import UserError
from imagen.networks.layers import zero_init
from imagen.networks.multi_head import attend
from imagen.networks.text_context import TextContext
from imagen.tensors import Images, PerImage

NUM_FREQUENCIES = 64
LONGEST_PERIOD, SHORTEST_PERIOD = 80.0, 0.5
"""In units of log-SNR. The longest is twice the range [-20, 20], so that no two levels have the same features."""


def fourier_features(log_snr: PerImage) -> Float[Tensor, "batch features"]:
    """Sines and cosines of log-SNR at geometrically spaced periods, float32."""
    exponents = torch.linspace(0, 1, NUM_FREQUENCIES, device=log_snr.device)
    frequencies = 2 * math.pi / LONGEST_PERIOD * (LONGEST_PERIOD / SHORTEST_PERIOD) ** exponents
    angles = log_snr.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LogSNREmbedding(nn.Sequential):
    """An MLP on the Fourier features of log-SNR: (batch,) → (batch, features)."""

    def __init__(self, features: int) -> None:
        super().__init__(nn.Linear(2 * NUM_FREQUENCIES, features), nn.SiLU(), nn.Linear(features, features))

    def forward(self, log_snr: PerImage) -> Float[Tensor, "batch features"]:
        return super().forward(fourier_features(log_snr))


class GuidanceEmbedding(nn.Sequential):
    """An MLP on the Fourier features of log(guidance weight): (batch,) → (batch, features). Zeros before training.

    So a network that begins with the weights of one without it begins as that one.
    """

    def __init__(self, features: int) -> None:
        last = zero_init(nn.Linear(features, features))
        super().__init__(nn.Linear(2 * NUM_FREQUENCIES, features), nn.SiLU(), last)

    def forward(self, weight: PerImage) -> Float[Tensor, "batch features"]:
        return super().forward(fourier_features(weight.log()))


class TextPooling(nn.Module):
    """Attention pooling of the text to one vector; exactly zero for an image without text.

    The query is made from the mean token, which is also one of the keys (as in DeepFloyd IF).
    """

    def __init__(self, text_features: int, features: int, head_channels: int = 64) -> None:
        super().__init__()
        self.heads = max(1, features // head_channels)
        self.to_q = nn.Linear(text_features, features)
        self.to_kv = nn.Linear(text_features, 2 * features)
        self.norm = nn.LayerNorm(features)
        self.to_out = nn.Linear(features, features)

    def forward(self, text: TextContext) -> Float[Tensor, "batch features"]:
        visible = torch.isfinite(text.bias[:, 0]).to(text.tokens.dtype)  # (batch, 1, tokens)
        mean = visible @ text.tokens / visible.sum(dim=2, keepdim=True).clamp(min=1)  # (batch, 1, features)
        key, value = self.to_kv(torch.cat([mean, text.tokens], dim=1)).chunk(2, dim=-1)
        pooled = attend(self.to_q(mean), key, value, F.pad(text.bias, (1, 0)), self.heads)[:, 0]
        return self.to_out(self.norm(pooled)) * text.present


class PicturePooling(nn.Module):
    """A picture of any size summed up in one vector: strided convolutions, then the mean over all places.

    It tells what is in a picture and less where: for a style or a palette, not for an outline. A dropped picture is
    mid-grey, zeros, and has the vector of one.
    """

    WIDTHS = (32, 64, 128)

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, self.WIDTHS[0], kernel_size=3, stride=2, padding=1)
        pairs = pairwise(self.WIDTHS)
        self.convs = nn.ModuleList(nn.Conv2d(above, width, 3, stride=2, padding=1) for above, width in pairs)
        self.to_out = nn.Linear(self.WIDTHS[-1], features)

    def forward(self, images: Images) -> Float[Tensor, "batch features"]:
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        for conv in self.convs:
            x = conv(F.silu(x))
        return self.to_out(F.silu(x).mean(dim=(2, 3)))


class ConditioningEmbedding(nn.Module):
    """The sum of the embeddings of noise level, text, noise level of the low-resolution image, pooled images, guidance
    weight and the vector of a picture, after a SiLU.

    The SiLU is the one that every block would apply to it first.

    Args:
        picture_embedding: width of that vector; None: there is none.
    """

    def __init__(
        self,
        features: int,
        text_features: int,
        low_res: bool,
        pooled: Sequence[str] = (),
        channels: int = 3,
        guidance: bool = False,
        picture_embedding: int | None = None,
    ) -> None:
        super().__init__()
        self.log_snr = LogSNREmbedding(features)
        self.text = TextPooling(text_features, features)
        self.low_res = LogSNREmbedding(features) if low_res else None
        self.pictures = nn.ModuleDict({name: PicturePooling(channels, features) for name in pooled})
        self.guidance = GuidanceEmbedding(features) if guidance else None
        self.picture = None if picture_embedding is None else nn.Linear(picture_embedding, features)

    def forward(
        self, log_snr: PerImage, text: TextContext, conditioning: Conditioning
    ) -> Float[Tensor, "batch features"]:
        """Raises UserError if a guidance weight or the vector of a picture is missing or superfluous."""
        _check_told("guidance weight", "guidance", self.guidance, conditioning)
        _check_told("picture's embedding", PICTURE_EMBEDDING, self.picture, conditioning)
        embedding = self.log_snr(log_snr) + self.text(text)
        if self.low_res is not None:
            embedding = embedding + self.low_res(conditioning["low_res"].level.log_snr)
        for name, pooling in self.pictures.items():
            embedding = embedding + pooling(conditioning[name].images)
        if self.guidance is not None:
            embedding = embedding + self.guidance(conditioning["guidance"].weight)
        if self.picture is not None:
            embedding = embedding + self.picture(conditioning[PICTURE_EMBEDDING].values)
        return F.silu(embedding)


def _check_told(what: str, name: str, reads: nn.Module | None, conditioning: Conditioning) -> None:
    """Raises UserError unless the signal `name`, called `what`, is given exactly where the network `reads` it."""
    if (reads is not None) == (name in conditioning):
        return
    wanted, given = ("is told a", "none") if reads is not None else ("is not told the", "one")
    raise UserError(
        f"this network {wanted} {what} and was given {given}: its argument `{name}` and the conditioner of the stage "
        "must agree"
    )
