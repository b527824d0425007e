"""Small networks of both kinds, with conditioning."""

from collections.abc import Callable

import torch
from torch import nn

from imagen.diffusion.conditioning import Conditioning, ImageSignal, LowResImage, TextSignal
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.unclip.vectors import VectorSignal
from imagen.networks.attention import (
    AttentionSpec,
    CrossAttentionSpec,
    InTurnSpec,
    LinearAttentionSpec,
    SelfAttentionSpec,
)
from imagen.networks.efficient_unet import EfficientUNet
from imagen.networks.levels import LevelSpec
from imagen.networks.unet import UNet

TEXT_FEATURES = 24
RESOLUTION = 16
EMBEDDING = 12
SELF_ATTENTION = SelfAttentionSpec(32)
SELF_THEN_CROSS = InTurnSpec([SelfAttentionSpec(32, text=False), CrossAttentionSpec(32)])


def randomise(network: nn.Module) -> nn.Module:
    """Replaces the zeros of the initialisation, behind which a fault could hide."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network


def make_base(attention: AttentionSpec = SELF_ATTENTION, **changes: object) -> UNet:
    torch.manual_seed(0)
    levels = [LevelSpec(32, 1, stride=1), LevelSpec(64, 2, attention), LevelSpec(96, 1, attention)]
    return UNet(levels, **{"text_features": TEXT_FEATURES, "embedding_features": 64, **changes})


def make_efficient(attention: AttentionSpec, **changes: object) -> EfficientUNet:
    torch.manual_seed(0)
    levels = [LevelSpec(32, 1), LevelSpec(64, 2, attention, stride=4, attention_every=2)]
    settings = {"text_features": TEXT_FEATURES, "embedding_features": 64, "stem_channels": 32, **changes}
    return EfficientUNet(levels, **settings)


MAKERS: dict[str, Callable[..., nn.Module]] = {
    "UNet": make_base,
    "UNet with low_res": lambda **changes: make_base(low_res=True, **changes),
    "UNet with positions": lambda **changes: make_base(SelfAttentionSpec(32, positions=True), **changes),
    "UNet with linear attention": lambda **changes: make_base(LinearAttentionSpec(32), **changes),
    "UNet, self- then cross-attention": lambda **changes: make_base(SELF_THEN_CROSS, **changes),
    "UNet with two pictures": lambda **changes: make_base(concatenated=["condition", "other"], **changes),
    "UNet with a picture's embedding": lambda **changes: make_base(picture_embedding=EMBEDDING, **changes),
    "EfficientUNet, self-attention": lambda **changes: make_efficient(SelfAttentionSpec(32, expansion=2), **changes),
    "EfficientUNet, cross-attention": lambda **changes: make_efficient(CrossAttentionSpec(32), **changes),
    "EfficientUNet with a picture": lambda **changes: make_efficient(
        SelfAttentionSpec(32), concatenated=["condition"], **changes
    ),
    "EfficientUNet with a pooled picture": lambda **changes: make_efficient(
        SelfAttentionSpec(32), pooled=["condition"], **changes
    ),
}


def make_inputs(
    network: nn.Module, lengths: tuple[int, ...] = (5, 1, 3), tokens: int = 6
) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    """z, log_snr and conditioning, random; caption i has `lengths[i]` tokens of the `tokens` there is room for."""
    batch = len(lengths)
    generator = torch.Generator().manual_seed(2)
    shape = (batch, 3, RESOLUTION, RESOLUTION)
    z, image = torch.randn(2, *shape, generator=generator)
    log_snr, low_res_log_snr = torch.randn(2, batch, generator=generator)
    mask = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    text = torch.randn(batch, max(tokens, 16), TEXT_FEATURES, generator=generator)[:, :tokens] * mask[..., None]
    conditioning = Conditioning(text=TextSignal(text, mask))
    if network.embedding.low_res is not None:
        conditioning = Conditioning(conditioning, low_res=LowResImage(image, NoiseLevel(low_res_log_snr)))
    if getattr(network, "picture_tokens", None) is not None:
        vectors = VectorSignal.of(torch.randn(batch, EMBEDDING, generator=generator))
        conditioning = Conditioning(conditioning, picture_embedding=vectors)
    names = [*getattr(network, "concatenated", ()), *getattr(network, "pooled", ())]
    pictures = {name: ImageSignal(torch.randn(shape, generator=generator)) for name in names}
    return z, log_snr, Conditioning(conditioning, **pictures)
