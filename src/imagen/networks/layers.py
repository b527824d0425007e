"""The layers that the blocks are made of."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from imagen.tensors import Images

Module = nn.Linear | nn.Conv2d


def zero_init(layer: Module) -> Module:
    """The layer, its weights and bias set to zero: the branch that ends in it contributes nothing at first."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def num_groups(channels: int) -> int:
    """At most 32 groups (ADM's number), of at least 16 channels: smaller groups are up to 100 times slower on a CPU."""
    return max(1, min(32, channels // 16))


def group_norm(x: Images, weight: Tensor | None = None, bias: Tensor | None = None) -> Images:
    """Group normalisation that keeps the dtype of its input; its statistics are float32 inside.

    CUDA's autocast would return float32, at twice the memory traffic; the CPU's autocast keeps the dtype.
    """
    with torch.autocast("cuda", enabled=False):
        return F.group_norm(x, num_groups(x.shape[1]), weight, bias)


class GroupNorm(nn.Module):
    """Group normalisation with a gain and an offset for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Images) -> Images:
        return group_norm(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class ScaleShiftNorm(nn.Module):
    """Group normalisation whose gain and offset are read from the embedding (ADM's "scale-shift norm")."""

    def __init__(self, channels: int, embedding_features: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(embedding_features, 2 * channels)

    def forward(self, x: Images, embedding: Float[Tensor, "batch features"]) -> Images:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, group_norm(x), 1 + scale)


class Downsample(nn.Module):
    """Average pooling, without parameters."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Images) -> Float[Tensor, "batch channels low_height low_width"]:
        return x if self.factor == 1 else F.avg_pool2d(x, self.factor)


class Upsample(nn.Module):
    """Nearest neighbour, without parameters."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Images) -> Float[Tensor, "batch channels high_height high_width"]:
        return x if self.factor == 1 else F.interpolate(x, scale_factor=float(self.factor), mode="nearest")


class UpsamplingConv(nn.Conv2d):
    """Nearest-neighbour upsampling and then a 3 × 3 convolution.

    Doubling is computed as one transposed convolution of 4 × 4 and stride 2, which is the same map: each pixel of the
    output depends on only 2 × 2 pixels of the input. That takes 4/9 of the products and no enlarged copy of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)
        self.factor = factor

    def forward(self, x: Images) -> Float[Tensor, "batch out_channels high_height high_width"]:
        if self.factor != 2:
            return super().forward(Upsample(self.factor)(x))
        kernel = self.weight.transpose(0, 1).flip(2, 3)
        kernel = F.avg_pool2d(F.pad(kernel, (1, 1, 1, 1)), 2, stride=1, divisor_override=1)  # sums of neighbouring taps
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)
